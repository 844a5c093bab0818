//! `palisade doctor`: asks each coordinator by itself and the leader for its picture, and says what
//! is wrong.

use super::{Session, now_ms, print};
use crate::args::Output;
use crate::doctor::{Asked, Check, Seen, Verdict, examine};
use crate::exit::{Exit, Failure};
use crate::render;
use client::introduce;
use proto::admin::v1 as pb;
use std::fmt::Display;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long one coordinator may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(5);
/// How long the leader may take: whoever asks at night doesn't wait for long.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn doctor(session: &Session) -> Result<Exit, Failure> {
    let seen = look(session).await;
    let checks = examine(&seen);
    match session.output {
        Output::Table | Output::Wide => print(&render::findings(&checks, session.paint)),
        Output::Json | Output::Yaml => {
            session.show_value(&render::findings_value(&checks, seen.now_ms));
        }
        Output::Name => {
            let wrong = checks.iter().filter(|check| check.finding.verdict != Verdict::Ok);
            print(&wrong.map(|check| format!("{}\n", check.name)).collect::<String>());
        }
    }
    Ok(exit(&seen, &checks))
}

/// A warning is no failure; that nobody answers is not that something is wrong.
fn exit(seen: &Seen, checks: &[Check]) -> Exit {
    if seen.asked.iter().all(|asked| asked.answer.is_err()) {
        return Exit::Unreachable;
    }
    match checks.iter().any(|check| check.finding.verdict == Verdict::Fail) {
        true => Exit::Failed,
        false => Exit::Done,
    }
}

/// All that the checks need. What can't be had is named there.
pub(super) async fn look(session: &Session) -> Seen {
    let admin = &session.admin;
    let status = why(admin.status().await);
    let asked = introductions(session, status.as_ref().ok()).await;
    let (settings, tablets, migrations, barriers, orphans) = match &status {
        // Each would wait for a leader as long as the status did.
        Err(no) => {
            (Err(no.clone()), Err(no.clone()), Err(no.clone()), Err(no.clone()), Err(no.clone()))
        }
        Ok(_) => tokio::join!(
            async { why(admin.settings().await) },
            async { why(admin.list_tablets("").await) },
            async { why(admin.list_migrations(true).await) },
            async { why(admin.list_barriers(0).await) },
            async { why(admin.list_orphans("").await) },
        ),
    };
    Seen {
        now_ms: now_ms(),
        asked,
        status,
        settings,
        tablets,
        migrations,
        barriers,
        orphans,
        has_tls: session.tls.is_some(),
        own: session.tls.as_ref().and_then(client::Tls::validity),
        build: env!("CARGO_PKG_VERSION"),
        feature_level: migrations::state::FEATURE_LEVEL,
    }
}

/// A failure in words.
pub(super) fn why<T>(answer: Result<T, impl Display>) -> Result<T, String> {
    answer.map_err(|error| error.to_string())
}

/// Asks each coordinator by itself: those that the leader names, without one those that were given.
async fn introductions(session: &Session, status: Option<&pb::GetStatusResponse>) -> Vec<Asked> {
    let named = status.map_or(&[][..], |status| &status.coordinators);
    let mut whom: Vec<(String, Option<String>)> =
        named.iter().map(|one| (one.admin_address.clone(), Some(one.name.clone()))).collect();
    if whom.is_empty() {
        whom = session.coordinators.iter().map(|address| (address.clone(), None)).collect();
    }
    let mut asking = JoinSet::new();
    for (place, (address, name)) in whom.into_iter().enumerate() {
        let tls = session.tls.clone();
        asking.spawn(async move {
            let answer = introduce(&address, tls, INTRODUCTION).await;
            (place, Asked { address, name, answer })
        });
    }
    let mut asked = Vec::new();
    while let Some(one) = asking.join_next().await {
        asked.extend(one);
    }
    asked.sort_by_key(|(place, _)| *place);
    asked.into_iter().map(|(_, asked)| asked).collect()
}
