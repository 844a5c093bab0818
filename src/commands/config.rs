//! `palisade config`: what is the same everywhere.

use super::{Session, print, unchanged};
use crate::args::{ChangeArgs, ConfigCommand, Output};
use crate::exit::{Exit, Failure};
use crate::render::{self, Setting};
use proto::admin::v1 as pb;
use proto::types::v1::{LeaseTerms, Settings};

pub(super) async fn run(session: &Session, command: ConfigCommand) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Get { key: None } => show(session, &session.admin.settings().await?),
        ConfigCommand::Get { key: Some(key) } => {
            let found = render::all_settings(&session.admin.settings().await?);
            show_one(session, &key, found)?;
        }
        ConfigCommand::Set { settings, change } => set(session, &settings, change).await?,
    }
    Ok(Exit::Done)
}

fn show(session: &Session, settings: &Settings) {
    let found = render::all_settings(settings);
    let names: Vec<&str> = found.iter().map(|setting| setting.name.as_str()).collect();
    session.show(settings, &names.join("\n"), || render::settings(&found));
}

fn show_one(session: &Session, key: &str, found: Vec<Setting>) -> Result<(), Failure> {
    let Some(setting) = found.into_iter().find(|setting| setting.name == key) else {
        return Err(Failure::new(Exit::NotFound, format!("there is no setting {key:?}"))
            .now("nothing was changed")
            .why("settings have the names of their protos")
            .next("palisade config get     lists them"));
    };
    match session.output {
        Output::Table | Output::Wide => print(&format!("{}\n", setting.value)),
        Output::Json | Output::Yaml => {
            session.show_value(&serde_json::json!({ setting.name: setting.value }));
        }
        Output::Name => print(&format!("{}\n", setting.name)),
    }
    Ok(())
}

/// Asks for some settings to be changed, and for all others to stay: so that the same words make
/// the same request, whatever has changed in between.
async fn set(session: &Session, assignments: &[String], change: ChangeArgs) -> Result<(), Failure> {
    let mut settings = Settings { lease: Some(LeaseTerms::default()), ..Settings::default() };
    for assignment in assignments {
        settings = render::with_setting(&settings, assignment).map_err(|problem| {
            Failure::new(Exit::Usage, problem)
                .now("nothing was changed")
                .why("each has to be KEY=VALUE, by the name that its proto gives it")
                .next("palisade config get     lists them with their values")
        })?;
    }
    let names = assignments.iter().filter_map(|one| one.split_once('='));
    let request = pb::SetSettingsRequest {
        request_id: change.request_id.unwrap_or_default(),
        validate_only: change.dry_run,
        settings: Some(settings),
        expected: None,
        only: names.map(|(name, _)| name.to_owned()).collect(),
    };
    let answer = session.admin.set_settings(request).await.map_err(unchanged)?;
    if change.dry_run && session.output.is_for_people() {
        print("the settings pass all checks; nothing was done\n");
        return Ok(());
    }
    show(session, &answer.settings.unwrap_or_default());
    Ok(())
}
