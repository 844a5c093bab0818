//! Asking for moves and repairs, and waiting for them.

use super::Demo;
use super::screen::Screen;
use anyhow::{Context, bail};
use client::{AdminClient, WaitFor};
use proto::admin::v1 as pb;
use proto::types::v1::Stage;
use std::time::Duration;
use tokio::task::JoinSet;

/// Longer than anything takes that is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// How often it is asked for what nobody tells by itself.
pub(super) const LOOK: Duration = Duration::from_millis(50);

/// Waits for something that ends, or has gone wrong.
pub(super) async fn within<T>(
    what: &str,
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let ended = tokio::time::timeout(PATIENCE, future).await;
    ended.with_context(|| format!("{what}: not after {PATIENCE:?}"))?
}

impl Demo {
    /// All tablets of the table.
    pub(super) async fn tablets(&self) -> anyhow::Result<Vec<pb::Tablet>> {
        Ok(self.admin.list_tablets(super::TABLE).await?)
    }

    /// Asks for a move of a tablet from one of its replicas to a node that has none; `turn`
    /// chooses among them.
    pub(super) async fn begin_move(
        &self,
        tablet: &pb::Tablet,
        turn: usize,
    ) -> anyhow::Result<pb::Migration> {
        let (from, to) = self.way(tablet, turn)?;
        let request = pb::MigrateRequest {
            tablet: tablet.id,
            from,
            to,
            reason: "demonstration".to_owned(),
            ..Default::default()
        };
        let begun = self.admin.migrate(request).await?.migration;
        begun.with_context(|| format!("no migration of {}", tablet.name))
    }

    /// From where to where a tablet can move.
    pub(super) fn way(&self, tablet: &pb::Tablet, turn: usize) -> anyhow::Result<(String, String)> {
        let holds = |node: &str| tablet.replicas.iter().any(|replica| replica.node == node);
        let free: Vec<&str> =
            self.cluster.agents().iter().map(|agent| agent.name()).filter(|n| !holds(n)).collect();
        let from = tablet.replicas.get(turn % tablet.replicas.len().max(1));
        let to = free.get(turn % free.len().max(1));
        match (from, to) {
            (Some(from), Some(to)) => Ok((from.node.clone(), (*to).to_owned())),
            _ => bail!("{} can't move: all agents hold it", tablet.name),
        }
    }

    /// Waits for the end of a migration.
    pub(super) async fn ended(&self, migration: &pb::Migration) -> anyhow::Result<pb::Migration> {
        wait(&self.admin, &self.screen, migration, WaitFor::End).await
    }

    /// Waits until a migration has reached a stage.
    pub(super) async fn reached(
        &self,
        migration: &pb::Migration,
        stage: Stage,
    ) -> anyhow::Result<pb::Migration> {
        wait(&self.admin, &self.screen, migration, WaitFor::Stage(stage)).await
    }

    /// Waits for the ends of many.
    pub(super) async fn all_ended(
        &self,
        migrations: Vec<pb::Migration>,
    ) -> anyhow::Result<Vec<pb::Migration>> {
        let mut waiting = JoinSet::new();
        let count = migrations.len();
        for migration in migrations {
            let (admin, screen) = (self.admin.clone(), self.screen.clone());
            waiting.spawn(async move { wait(&admin, &screen, &migration, WaitFor::End).await });
        }
        let mut ended = Vec::new();
        while let Some(one) = waiting.join_next().await {
            ended.push(one.context("a wait failed")??);
            self.screen.waits_for(format!("{} of {count} migrations have ended", ended.len()));
        }
        Ok(ended)
    }

    /// Waits until the process of every agent is admitted.
    pub(super) async fn all_attached(&self) -> anyhow::Result<()> {
        let count = self.cluster.agents().len();
        let attached = async {
            loop {
                let nodes = self.admin.list_nodes().await?;
                let is_in =
                    |node: &&pb::Node| node.attached && node.state() == pb::NodeState::Admitted;
                let there = nodes.iter().filter(is_in).count();
                if there >= count {
                    return Ok(());
                }
                self.screen.waits_for(format!("{there} of {count} agents are admitted"));
                tokio::time::sleep(LOOK).await;
            }
        };
        within("the admission of all agents", attached).await
    }

    /// Repairs a tablet.
    pub(super) async fn repair(&self, tablet: &pb::Tablet) -> anyhow::Result<()> {
        let request = pb::RepairTabletRequest { tablet: tablet.id, ..Default::default() };
        let begun = self.admin.repair_tablet(request).await?.migration;
        let begun = begun.with_context(|| format!("no repair of {}", tablet.name))?;
        let ended = self.ended(&begun).await?;
        match ended.state() {
            pb::MigrationState::Done => Ok(()),
            _ => bail!("the repair of {} went back: {}", tablet.name, ended.reason),
        }
    }
}

async fn wait(
    admin: &AdminClient,
    screen: &Screen,
    migration: &pb::Migration,
    wait_for: WaitFor,
) -> anyhow::Result<pb::Migration> {
    let show = |migration: &pb::Migration| {
        let stage = crate::render::stage(migration.stage());
        let mut line = format!("{} is in {stage}", migration.tablet_name);
        if !migration.waiting_for.is_empty() {
            line.push_str(&format!(", waits for {}", migration.waiting_for.join(" ")));
        }
        screen.waits_for(line);
    };
    let what = format!("migration {} of {}", migration.id, migration.tablet_name);
    within(&what, async { Ok(admin.wait_migration(&migration.id, wait_for, show).await?) }).await
}
