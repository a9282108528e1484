//! What the demo prints: prose, commands as a reader could type them, and answers.
//!
//! Ids and tokens become shell variables once they are known, as in the article, so that a command fits a line and works
//! when it is pasted.

use serde_json::Value;
use std::io::IsTerminal;
use std::time::Duration;
use testkit::Answer;

/// The narrator.
#[derive(Debug)]
pub struct Story {
    colour: bool,
    step: usize,
    variables: Vec<(&'static str, String)>,
}

impl Default for Story {
    fn default() -> Self {
        Story { colour: std::io::stdout().is_terminal(), step: 0, variables: Vec::new() }
    }
}

impl Story {
    fn styled(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    /// A heading without a number.
    pub fn title(&self, text: &str) {
        println!("\n{}", self.styled("1", text));
    }

    /// The heading of the next step.
    pub fn step(&mut self, text: &str) {
        self.step += 1;
        println!("\n{}", self.styled("1", &format!("{}. {text}", self.step)));
    }

    /// A sentence or two.
    pub fn say(&self, text: &str) {
        println!("{text}");
    }

    /// Something that was checked and holds.
    pub fn good(&self, text: &str) {
        println!("{} {text}", self.styled("32", "ok"));
    }

    /// A command as it could be typed.
    pub fn command(&self, text: &str) {
        println!("{}", self.styled("36", &format!("$ {text}")));
    }

    /// From now on this value is written as a shell variable, and it is shown how to set it.
    pub fn variable(&mut self, name: &'static str, value: &str) {
        self.command(&format!("{name}={value}"));
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.to_owned()));
    }

    /// A URL with the known variables in it.
    pub fn with_variables(&self, text: &str) -> String {
        self.variables.iter().fold(text.to_owned(), |text, (name, value)| text.replace(value, &format!("${name}")))
    }

    /// A request as a curl command; `rest` are its further arguments, already quoted for a shell.
    pub fn curl(&self, method: &str, url: &str, token: bool, rest: &str) {
        let mut line = String::from("curl -s");
        if method != "GET" {
            line.push_str(&format!(" -X {method}"));
        }
        if token {
            line.push_str(" -H \"X-Auth-Token: $AUTH_TOKEN\"");
        }
        line.push_str(&format!(" \"{}\"", self.with_variables(url)));
        if !rest.is_empty() {
            line.push_str(" \\\n    ");
            line.push_str(rest);
        }
        self.command(&line);
    }

    /// An answer: status, time, and the body; JSON is laid out, a long token is cut.
    pub fn answer(&self, answer: &Answer, took: Duration) {
        let kind = answer.header("content-type").unwrap_or("no content type");
        println!(
            "{}",
            self.styled("33", &format!("{}  {kind}  {} bytes  {}", answer.status, answer.body.len(), human(took)))
        );
        if let Ok(mut json) = serde_json::from_slice::<Value>(&answer.body) {
            let token = json["auth_token"].as_str().filter(|text| text.len() > 24);
            if let Some(cut) = token.map(|text| format!("{}…", &text[..20])) {
                json["auth_token"] = Value::String(cut);
            }
            println!("{json:#}");
        }
    }
}

/// JSON as one argument of a shell command.
pub fn quoted(json: &Value) -> String {
    format!("'{}'", json.to_string().replace('\'', r"'\''"))
}

/// A duration in milliseconds below a second, in seconds above.
pub fn human(took: Duration) -> String {
    match took.as_secs_f64() {
        seconds if seconds < 1.0 => format!("{:.1} ms", seconds * 1000.0),
        seconds => format!("{seconds:.2} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_typed() {
        assert_eq!(quoted(&serde_json::json!({"a": "it's"})), r#"'{"a":"it'\''s"}'"#);
        let story = Story { colour: false, step: 0, variables: vec![("ACCOUNT_ID", "abc123".into())] };
        assert_eq!(
            story.with_variables("http://h/v2/accounts/abc123/storage"),
            "http://h/v2/accounts/$ACCOUNT_ID/storage"
        );
    }
}
