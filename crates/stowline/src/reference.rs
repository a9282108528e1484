//! `docs/reference.md`, made from what the program is: its routes, its options, the functions of `sup`.

use crate::api::{Access, ROUTES};
use crate::{config, sup};

/// The text of the reference.
pub fn text() -> String {
    let mut text = String::from(
        "# Reference\n\nMade from the program itself; `UPDATE=1 cargo test -p stowline reference` writes it anew.\n\n\
         ## Command line\n\n\
         `stowline serve [--config FILE] [--listen 127.0.0.1:8000] [--data-dir DIR]` runs the server. The first line on stdout is\n\
         `listening on http://IP:PORT`; with `[sip] listen`, lines `sip listening on udp://IP:PORT` follow. SIGTERM or SIGINT drains and exits 0. `GET /healthz` is 200 when it takes writes, `GET /metrics` is\n\
         Prometheus text.\n\n\
         `stowline sup [--data-dir DIR] MODULE FUNCTION [ARGS…]` calls the running server, as does a link to the program with the name `sup`.\n\
         It exits 0, or 1 when the function failed, or 2 when there is no such function or it takes other arguments.\n\n```\n",
    );
    text.push_str(&sup::usage());
    text.push_str(
        "```\n\n`stowline spool DIR --to URL --key-file FILE --kind recordings|voicemail|fax|cdr|asterisk-voicemail …` runs beside a switch and\n\
         uploads what it leaves in a folder; `stowline spool --help` has all options and examples, the [recipes](recipes/README.md) what the switches need.\n\n\
         `stowline call sip:1001@HOST:PORT --play FILE.wav …` calls a mailbox, or any telephone, waits for the tone, and says what the file holds.\n\
         It exits 0 when it was answered and all was said, else 1; `stowline call --help` has all options.\n",
    );
    text.push_str("\n`stowline config` prints the options below.\n\n## Endpoints\n\nAll below `/v2`.\n\n| verb | path | who may |\n|---|---|---|\n");
    for route in ROUTES {
        let verb = format!("{:?}", route.method).to_uppercase();
        text.push_str(&format!("| {verb} | `/{}` | {} |\n", route.path, who(route.access)));
    }
    text.push_str("\n## Options\n\n```toml\n");
    text.push_str(config::DEFAULTS);
    text.push_str("```\n");
    text
}

/// Who may use a route, in words.
pub fn who(access: Access) -> String {
    let who = match access {
        Access::Ingest(scope) => {
            let scope = scope.word();
            return format!(
                "whoever has an ingest key of the account with the scope `{scope}`, admins of the account and of accounts above it"
            );
        }
        Access::Open => "anybody",
        Access::Authenticated => "whoever has a token",
        Access::AnyAdmin => "admins, of whatever account",
        Access::SuperAdmin => "super admins",
        Access::Above => "admins of accounts above it, super admins",
        Access::Own => "the user; admins of the account and of accounts above it",
        Access::Member => "users of the account and of accounts above it; who is no admin, only what is their own",
        Access::Admin => "admins of the account and of accounts above it",
        Access::StorageRead => "users of the account (secrets masked), its reseller's admins, super admins",
        Access::PlansRead => "as for reading the account's storage, where the account is a reseller",
        Access::PlansChange => "as for changing the account's storage, where the account is a reseller",
        Access::UserStorage => "the user, admins of the account, its reseller's, super admins",
        Access::StorageChange => "admins of the account, its reseller's, super admins",
    };
    who.to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_reference_is_what_the_program_is() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference.md");
        let wanted = super::text();
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(file, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(file).unwrap_or_default();
        assert!(found == wanted, "docs/reference.md is out of date: UPDATE=1 cargo test -p stowline reference");
    }
}
