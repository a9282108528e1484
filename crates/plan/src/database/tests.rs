use super::*;
use proptest::prelude::*;

const RAW: &str = "abcdef0123456789abcdef0123456789";

fn parse(text: &str) -> Database {
    Database::parse(text).unwrap()
}

#[test]
fn every_form_of_an_account_database_is_read() {
    let account = AccountId::parse(RAW).unwrap();
    let month = Month::from_parts(2026, 11).unwrap();
    let bases = [
        RAW,
        "account/ab/cd/ef0123456789abcdef0123456789",
        "account%2Fab%2Fcd%2Fef0123456789abcdef0123456789",
        "account%2fab%2Fcd%2fef0123456789abcdef0123456789",
    ];
    for base in bases {
        assert_eq!(parse(base), Database::Account(account.clone()), "{base}");
        assert_eq!(parse(&format!("{base}-202611")), Database::Modb(account.clone(), month), "{base}");
        assert_eq!(parse(&format!("{base}-2026")), Database::Yodb(account.clone(), 2026), "{base}");
        assert_eq!(
            parse(&format!("{base}-selectors")),
            Database::Selectors(account.clone(), "selectors".into()),
            "{base}"
        );
    }
}

#[test]
fn names_print_unencoded_and_encoded() {
    let modb = parse(&format!("{RAW}-202603"));
    assert_eq!(modb.name(), "account/ab/cd/ef0123456789abcdef0123456789-202603");
    assert_eq!(modb.encoded(), "account%2Fab%2Fcd%2Fef0123456789abcdef0123456789-202603");
    assert_eq!(modb.account().unwrap().as_str(), RAW);
    assert_eq!(modb.month().unwrap().to_string(), "202603");
    assert_eq!(parse("numbers/+1415").encoded(), "numbers%2F%2B1415");
    assert_eq!(parse("numbers%2F%2B1415"), Database::Named("numbers/+1415".into()));
    assert_eq!(
        parse("account0000000000000000000000004-0004").name(),
        "account/ac/co/unt0000000000000000000000004-0004"
    );
}

#[test]
fn what_is_no_database_is_refused() {
    let month_13 = format!("{RAW}-202613");
    let five = format!("{RAW}-20261");
    let suffix = format!("{RAW}-x");
    let long = "x".repeat(256);
    let bad = [
        "",
        "account",
        "account/",
        "account/ab/cd/short",
        "account/abc/d/ef0123456789abcdef0123456789",
        "account/ab/cd/ef0123456789abcdef0123456789x",
        "account/ab/cd/ef0123456789abcdef0123456789/x",
        "account/ab/cd/é0123456789abcdef0123456789x",
        "a b",
        "a\nb",
        "../x",
        "a/../b",
        "a//b",
        "/a",
        "a%00b",
        "a%2F..%2Fb",
        "%ff",
        "a%25b",
        &month_13,
        &five,
        &suffix,
        &long,
    ];
    for text in bad {
        assert!(Database::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn the_class_follows_from_the_name() {
    use Classification::*;
    let cases = [
        ("_users", Some(External)),
        ("dbs", Some(External)),
        ("_global_changes", Some(External)),
        ("sms", Some(Deprecated)),
        ("crossbar%2Fsessions", Some(Deprecated)),
        ("ratedeck", Some(Ratedeck)),
        ("ratedeck/custom", Some(Ratedeck)),
        ("ratedeck-custom", None),
        ("system_config", Some(System)),
        ("pending_notifications", Some(System)),
        ("faxes", Some(Aggregate)),
        ("services", Some(Aggregate)),
        ("numbers/+1415", Some(Numbers)),
        ("numbers%2f%2B1415", Some(Numbers)),
        ("numbers", None),
        ("provisioner", Some(Provisioner)),
        ("a_plug_ins_own", None),
        (RAW, Some(Account)),
        ("account/ab/cd/ef0123456789abcdef0123456789-202611", Some(Modb)),
        ("account/ab/cd/ef0123456789abcdef0123456789-2026", Some(Yodb)),
        ("account/ab/cd/ef0123456789abcdef0123456789-selectors", Some(ResourceSelectors)),
    ];
    for (name, class) in cases {
        assert_eq!(parse(name).classification(), class, "{name}");
    }
}

#[test]
fn a_document_id_may_name_its_month() {
    let month = |id: &str| DocId::parse(id).unwrap().month().map(|month| month.to_string());
    assert_eq!(month("202611-abcdef0123456789abcdef0123456789").as_deref(), Some("202611"));
    assert_eq!(month("202613-abcdef0123456789abcdef0123456789"), None);
    assert_eq!(month("2026-11"), None);
    assert_eq!(month("202611"), None);
}

#[test]
fn a_name_fits_its_buffer_or_is_said_not_to() {
    let modb = parse(&format!("{RAW}-202611"));
    assert_eq!(NameBuffer::of(&modb).unwrap().as_bytes(), modb.name().as_bytes());
    assert!(NameBuffer::of(&Database::Named("x".repeat(257).into())).is_none());
}

#[test]
fn class_words_are_those_of_serde() {
    for class in [Classification::ResourceSelectors, Classification::Modb, Classification::External] {
        assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
    }
}

fn databases() -> impl Strategy<Value = Database> {
    let account = "[A-Za-z0-9_-]{32}".prop_map(|id| AccountId::parse(&id).unwrap());
    prop_oneof![
        account.clone().prop_map(Database::Account),
        (account.clone(), 0..=9999u16, 1..=12u8)
            .prop_map(|(id, year, month)| Database::Modb(id, Month::from_parts(year, month).unwrap())),
        (account.clone(), 0..=9999u16).prop_map(|(id, year)| Database::Yodb(id, year)),
        (account, "([a-z0-9_]{0,8}_)?selectors").prop_map(|(id, suffix)| Database::Selectors(id, suffix.into())),
        "[a-z_][a-z0-9_+-]{0,20}(/[a-z0-9_+-]{1,8})?"
            .prop_filter("an account's", |name| !name.starts_with("account"))
            .prop_map(|name| Database::Named(name.into())),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_printed_is_read_back(database in databases()) {
        prop_assert_eq!(&parse(&database.name()), &database);
        prop_assert_eq!(&parse(&database.encoded()), &database);
        prop_assert_eq!(&parse(&database.encoded().replace("%2F", "%2f")), &database);
        let json = serde_json::to_string(&database).unwrap();
        prop_assert_eq!(serde_json::from_str::<Database>(&json).unwrap(), database);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "(account(/|%2[fF])|numbers|[0-9a-f]{2}/){0,3}.{0,40}") {
        if let Ok(database) = Database::parse(&text) {
            prop_assert_eq!(Database::parse(&database.name()).unwrap(), database);
        }
    }
}
