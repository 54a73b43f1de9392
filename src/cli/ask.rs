//! What changes the database: done here and now, or left for the larder that holds the archive.

use anyhow::Context as _;

use super::clock;
use crate::{
    archive::{self, Holder},
    config::Config,
    session::{self, Session},
    store::{self, Answered, Request},
};

/// Who does what was asked.
pub(super) enum Asked {
    /// It is done.
    Done(Answered),
    /// The larder at work was asked, and sees it within a second.
    Left(Holder),
}

/// Does what is asked as the command `kind`, or leaves it for the larder that holds the archive.
pub(super) fn ask(config: &Config, kind: &str, requests: Vec<Request>) -> anyhow::Result<Asked> {
    let session = match Session::open(config, kind, clock()) {
        Ok(session) => session,
        Err(session::Error::Archive(archive::Error::InUse { holder, .. })) => {
            store::ask(&config.archive.state, &requests, clock().now())
                .context("leave the request")?;
            return Ok(Asked::Left(holder));
        }
        Err(error) => return Err(error.into()),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let answered = answer(&session, requests).await;
        session.close().await;
        Ok(Asked::Done(answered?))
    })
}

/// Does what is asked in a session of this process, after what an earlier larder was asked and did not come to.
pub(super) async fn answer(
    session: &Session,
    requests: Vec<Request>,
) -> Result<Answered, store::Error> {
    while session.store.take_requests().await?.more {}
    let mut sum = Answered::default();
    for request in requests {
        loop {
            let (request, mut answered) = (request.clone(), std::mem::take(&mut sum));
            answered.more = false;
            sum = session
                .store
                .write("do what was asked", move |group| {
                    group.answer(&request, &mut answered)?;
                    Ok(answered)
                })
                .await?;
            if !sum.more {
                break;
            }
        }
    }
    Ok(sum)
}
