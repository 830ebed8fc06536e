//! The first admin key.

use std::fs::OpenOptions;
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use anyhow::{Context, bail};

use super::{AdminKey, AdminSecret, Origin, Scope, store};
use crate::app::App;
use crate::clock::MachineInstant;
use crate::database::Write;
use crate::ids::AdminKeyId;

/// Makes sure there is a key to begin with.
///
/// `chosen` is the operator's `TOLLGATE_ADMIN_KEY`: it is valid from then on, instead of one chosen
/// before. Without it, a database without keys gets a new one, shown on the terminal or written to
/// a file that only its owner may read.
///
/// # Errors
/// When the chosen key is too easy to guess, or the database or the file cannot be written.
pub async fn ensure_first_key(app: &App, chosen: Option<&str>) -> anyhow::Result<()> {
    let now = app.clock.machine_now();
    let mut tx = app.database.begin_write().await?;
    match chosen {
        Some(chosen) => adopt(&mut tx, chosen, now).await?,
        None if store::count(&mut tx).await? == 0 => {
            let secret = AdminSecret::generate();
            store::insert(
                &mut tx,
                &full_key("first key", now),
                &secret.hash(),
                Origin::FirstStart,
            )
            .await?;
            // Before the commit: a key that nobody learned of would lock everyone out.
            hand_over(&secret, &app.config.admin.key_file)?;
        }
        None => {}
    }
    Ok(tx.commit().await?)
}

async fn adopt(tx: &mut Write, chosen: &str, now: MachineInstant) -> anyhow::Result<()> {
    let Some(secret) = AdminSecret::parse(chosen) else {
        bail!("TOLLGATE_ADMIN_KEY is not tga_ and at least 32 random letters and digits");
    };
    match store::find_by_hash(tx, &secret.hash()).await? {
        Some(known) if known.revoked_at.is_some() => {
            tracing::warn!(id = %known.id, "TOLLGATE_ADMIN_KEY is revoked and stays so");
        }
        Some(_) => {}
        None => {
            store::revoke_origin(tx, Origin::Environment, now).await?;
            let key = full_key("TOLLGATE_ADMIN_KEY", now);
            store::insert(tx, &key, &secret.hash(), Origin::Environment).await?;
            tracing::info!(id = %key.id, "TOLLGATE_ADMIN_KEY is now an admin key");
        }
    }
    Ok(())
}

fn full_key(name: &str, now: MachineInstant) -> AdminKey {
    AdminKey {
        id: AdminKeyId::generate(now),
        name: name.to_owned(),
        scopes: Scope::ALL.to_vec(),
        created_at: now,
        expires_at: None,
        last_used_at: None,
        revoked_at: None,
    }
}

fn hand_over(secret: &AdminSecret, file: &Path) -> anyhow::Result<()> {
    let mut terminal = std::io::stdout();
    if terminal.is_terminal() {
        writeln!(
            terminal,
            "The first admin key, shown only now: {}",
            secret.expose()
        )?;
        return Ok(());
    }
    let mut opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .with_context(|| format!("cannot create {} for the first admin key", file.display()))?;
    writeln!(opened, "{}", secret.expose())?;
    opened.sync_all()?;
    tracing::info!(file = %file.display(), "the first admin key is in this file");
    Ok(())
}
