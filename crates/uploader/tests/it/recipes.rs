//! The commands of the recipes are commands: each `stowline spool …` in `docs/recipes` is read as the program reads it.

use std::fs;

use clap::Parser;
use uploader::{Arguments, Kind};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

/// Every command in a text, its lines joined.
fn commands(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let commands = joined.lines().filter_map(|line| {
        let (_, command) = line.split_once("stowline spool /")?;
        line.trim_start().starts_with(['s', 'E']).then(|| format!("/{command}"))
    });
    commands.collect()
}

/// The words of a command line; single quotes hold words together.
fn words(command: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), String::new(), false);
    for character in command.chars() {
        match character {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.extend((!word.is_empty()).then(|| std::mem::take(&mut word))),
            other => word.push(other),
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

#[test]
fn every_command_of_the_recipes_is_one() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes");
    let mut found = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        for command in commands(&fs::read_to_string(&path).unwrap()) {
            let words = std::iter::once("spool".to_owned()).chain(words(&command));
            let line = Line::try_parse_from(words).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            line.arguments.into_settings().unwrap().check().unwrap_or_else(|error| panic!("{command}: {error}"));
            found += 1;
        }
    }
    assert!(found >= 9, "only {found} commands were found");
}

/// File names as the recipes have them made, and what their patterns read in them.
#[test]
fn the_patterns_of_the_recipes_fit_the_names() {
    let read = |file: &str, number: usize, name: &str| {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/recipes");
        let text = fs::read_to_string(format!("{folder}/{file}.md")).unwrap();
        let command = commands(&text).into_iter().filter(|command| command.contains("--name-pattern")).nth(number);
        let words = std::iter::once("spool".to_owned()).chain(words(&command.unwrap()));
        let settings = Line::try_parse_from(words).unwrap().arguments.into_settings().unwrap();
        let read = settings.pattern.unwrap().read(name).unwrap_or_default();
        (settings.kind, read.into_iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "))
    };
    let fits = |file, number, name, kind, wanted: &str| assert_eq!(read(file, number, name), (kind, wanted.to_owned()));
    let call = "call_id=a9b3@sbc.example callee_id_number=2000 caller_id_number=+14155550121 start=1795526477";
    fits("freeswitch", 0, "a9b3@sbc.example_+14155550121_2000_1795526477.wav", Kind::Recordings, call);
    fits("freeswitch", 1, "msg_f03ef9a3-f390.wav", Kind::Voicemail, "call_id=f03ef9a3-f390");
    fits("freeswitch", 1, "greeting_1.wav", Kind::Voicemail, "");
    let call = "call_id=1795525462.3 callee_id_number=2000 caller_id_number=+14155550123 start=1795525462";
    fits("asterisk", 0, "1795525462.3_+14155550123_2000_1795525462.wav", Kind::Recordings, call);
    let hidden = "call_id=1795525462.3 callee_id_number=2000 caller_id_number= start=1795525462";
    fits("asterisk", 0, "1795525462.3__2000_1795525462.wav", Kind::Recordings, hidden);
    fits("kazoo", 0, "call_recording_f3b1@sbc.mp3", Kind::Recordings, "call_id=f3b1@sbc");
}
