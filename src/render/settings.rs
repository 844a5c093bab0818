//! Settings by the names that the protos give them: `attempts`, `lease.length_ms`. Whatever the
//! message has can be read and set.

use super::json::reflected;
use super::list::table;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, ReflectMessage, Value};
use proto::types::v1::Settings;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Setting {
    /// Its name, with the names of the messages it stands in.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// All settings, in the order of the protos.
pub(crate) fn all(settings: &Settings) -> Vec<Setting> {
    let mut found = Vec::new();
    collect(&reflected(settings), "", &mut found);
    found
}

fn collect(message: &DynamicMessage, above: &str, found: &mut Vec<Setting>) {
    for field in message.descriptor().fields() {
        let name = format!("{above}{}", field.name());
        let value = message.get_field(&field);
        match value.as_ref() {
            Value::Message(inner) => collect(inner, &format!("{name}."), found),
            scalar => {
                if let Some(value) = shown(scalar) {
                    found.push(Setting { name, value });
                }
            }
        }
    }
}

/// A scalar as it is written on a command line; `None` for what has no such form.
fn shown(value: &Value) -> Option<String> {
    match value {
        Value::U32(number) => Some(number.to_string()),
        Value::U64(number) => Some(number.to_string()),
        Value::Bool(is_so) => Some(is_so.to_string()),
        Value::String(text) => Some(text.clone()),
        _ => None,
    }
}

/// The settings with one of them changed; or why it can't be.
pub(crate) fn with_setting(settings: &Settings, assignment: &str) -> Result<Settings, String> {
    let (name, text) =
        assignment.split_once('=').ok_or_else(|| format!("{assignment:?} is not KEY=VALUE"))?;
    let mut changed = reflected(settings);
    set(&mut changed, name, text).map_err(|problem| format!("{name}: {problem}"))?;
    changed.transcode_to().map_err(|error| format!("{name}: {error}"))
}

fn set(message: &mut DynamicMessage, name: &str, text: &str) -> Result<(), String> {
    let (first, rest) = match name.split_once('.') {
        Some((first, rest)) => (first, Some(rest)),
        None => (name, None),
    };
    let unknown = || "there is no such setting".to_owned();
    let field = message.descriptor().get_field_by_name(first).ok_or_else(unknown)?;
    match (rest, message.get_field_mut(&field)) {
        (Some(rest), Value::Message(inner)) => set(inner, rest, text),
        (None, Value::Message(_)) => Err("it has parts, which are set one by one".to_owned()),
        (Some(_), _) => Err(unknown()),
        (None, value) => {
            *value = parsed(&field, text)?;
            Ok(())
        }
    }
}

fn parsed(field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let bound = |max: u64| format!("{text:?} is no whole number from 0 to {max}");
    match field.kind() {
        Kind::Uint32 => text.parse().map(Value::U32).map_err(|_| bound(u64::from(u32::MAX))),
        Kind::Uint64 => text.parse().map(Value::U64).map_err(|_| bound(u64::MAX)),
        Kind::Bool => {
            text.parse().map(Value::Bool).map_err(|_| format!("{text:?} is not true or false"))
        }
        Kind::String => Ok(Value::String(text.to_owned())),
        _ => Err("it can't be set here".to_owned()),
    }
}

/// Settings, a line each.
pub(crate) fn settings(found: &[Setting]) -> String {
    table(&["setting", "value"], found.iter().map(|one| vec![one.name.clone(), one.value.clone()]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::types::v1::LeaseTerms;

    fn held() -> Settings {
        let lease = Some(LeaseTerms { length_ms: 6_000, drift_per_mille: 20 });
        Settings { lease, attempts: 3, bytes_per_second: 1 << 40, ..Default::default() }
    }

    #[test]
    fn settings_have_the_names_of_their_protos() {
        let shown = settings(&all(&held()));
        assert!(shown.starts_with("SETTING"), "{shown}");
        assert!(shown.contains("\nlease.length_ms        6000\n"), "{shown}");
        assert!(shown.contains("\nattempts               3\n"), "{shown}");
        assert!(shown.contains("\nbytes_per_second       1099511627776\n"), "{shown}");
    }

    #[test]
    fn one_setting_is_changed_and_the_others_stay() {
        let changed = with_setting(&held(), "lease.length_ms=8000").expect("a setting");
        let lease = Some(LeaseTerms { length_ms: 8_000, drift_per_mille: 20 });
        assert_eq!(changed, Settings { lease, ..held() });
        let changed = with_setting(&held(), "attempts=5").expect("a setting");
        assert_eq!(changed, Settings { attempts: 5, ..held() });
    }

    /// A coordinator takes each by the name that it has here, and leaves the others.
    #[test]
    fn each_setting_is_taken_by_its_name() {
        let wanted = Settings { lease: Some(LeaseTerms::default()), ..Settings::default() };
        for setting in all(&held()) {
            let only = [setting.name.clone()];
            let merged = proto::convert::merged(held(), &wanted, &only).expect("it is one");
            let assigned = with_setting(&held(), &format!("{}=0", setting.name));
            assert_eq!(merged, assigned.expect("it is one"), "{}", setting.name);
        }
        assert_eq!(proto::convert::merged(held(), &wanted, &["no".to_owned()]), Err("no"));
    }

    #[test]
    fn what_is_no_setting_is_refused_by_name() {
        for wrong in ["attempts", "attempts=-1", "attempts=4294967296", "no=1", "lease=1"] {
            assert!(with_setting(&held(), wrong).is_err(), "{wrong}");
        }
        let problem = with_setting(&held(), "lease.no=1").expect_err("no such part");
        assert_eq!(problem, "lease.no: there is no such setting");
    }
}
