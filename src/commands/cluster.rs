//! `palisade status`, `palisade pause`, `palisade resume`.

use super::{Session, interrupts, print, unchanged};
use crate::args::{Output, PauseArgs, ResumeArgs, Span};
use crate::exit::{Exit, Failure};
use crate::render;
use crate::terminal::Block;
use proto::admin::v1 as pb;
use std::time::Duration;

/// It is not asked more often than this.
const WATCH_MIN: Duration = Duration::from_millis(100);

pub(super) async fn status(session: &Session, watch: Option<Span>) -> Result<Exit, Failure> {
    if let Some(every) = watch {
        return watched(session, every.0.max(WATCH_MIN)).await;
    }
    let status = session.admin.status().await?;
    session.show(&status, &status.cluster_id, || render::status(session.output, &status));
    Ok(Exit::Done)
}

/// Asks again and again until Ctrl-C. That nobody answers is shown like anything else.
async fn watched(session: &Session, every: Duration) -> Result<Exit, Failure> {
    let mut interrupted = interrupts()?;
    let mut looks = tokio::time::interval(every);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut block = Block::default();
    let mut said = String::new();
    loop {
        let asked = async {
            looks.tick().await;
            session.admin.status().await
        };
        let answer = tokio::select! {
            answer = asked => answer,
            _ = interrupted.recv() => return Ok(Exit::Done),
        };
        let shown = match answer {
            Ok(status) if session.is_live => render::status(session.output, &status),
            Ok(status) => line(session.output, &status),
            Err(error) if session.output.is_for_people() => {
                render::failure(&Failure::from(error), session.paint)
            }
            Err(error) => return Err(error.into()),
        };
        if session.is_live {
            block.draw(&shown.lines().map(str::to_owned).collect::<Vec<_>>());
        } else if shown != said {
            print(&shown);
            said = shown;
        }
    }
}

fn line(output: Output, status: &pb::GetStatusResponse) -> String {
    match output {
        Output::Table | Output::Wide => format!("{}\n", render::status_line(status)),
        Output::Json | Output::Yaml => render::watched(output, &render::json(status)),
        Output::Name => format!("{}\n", status.cluster_id),
    }
}

pub(super) async fn pause(session: &Session, args: PauseArgs) -> Result<Exit, Failure> {
    let request = pb::PauseRequest {
        request_id: args.change.request_id.unwrap_or_default(),
        validate_only: args.change.dry_run,
        reason: args.reason,
    };
    let answer = session.admin.pause(request).await.map_err(unchanged)?;
    session.show(&answer, "paused", || match args.change.dry_run {
        true => "transitions can be paused; nothing was done\n".to_owned(),
        false => "paused: each transition stands still at its next safe stage, streams at once; \
                  tablets go on being served\n  next:  palisade resume\n"
            .to_owned(),
    });
    Ok(Exit::Done)
}

pub(super) async fn resume(session: &Session, args: ResumeArgs) -> Result<Exit, Failure> {
    let request = pb::ResumeRequest {
        request_id: args.change.request_id.unwrap_or_default(),
        validate_only: args.change.dry_run,
    };
    let answer = session.admin.resume(request).await.map_err(unchanged)?;
    session.show(&answer, "resumed", || match args.change.dry_run {
        true => "transitions can be resumed; nothing was done\n".to_owned(),
        false => "transitions go on\n".to_owned(),
    });
    Ok(Exit::Done)
}
