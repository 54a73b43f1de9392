//! One action by hand: a request that changes an account, shown first, sent only when a person says so.
//!
//! Owns the way of an action's secrets: from the settings and the session into the request, and never anywhere else.
//! Nothing here is called by a job or a daemon, which know endpoints only.

use std::{collections::BTreeMap, fmt::Write, sync::Arc};

use crate::{
    by_hand::ByHand,
    class::Class,
    clock::Millis,
    config::{Secret, Site},
    dialect::{Action, Values},
    http::{Accept, Outgoing, Reply, of_status},
    run::Failure,
    walk::with_secrets,
};

/// What stands for a secret.
const STARS: &str = "***";

/// An action that is ready to be shown, and to be sent.
#[derive(Debug)]
pub struct Prepared {
    site: Arc<Site>,
    action: Arc<Action>,
    values: Values,
    /// The request with stars for what the session gives.
    shown: Outgoing,
}

impl Prepared {
    /// Fills an action's request. Nothing is asked of the site.
    ///
    /// # Errors
    /// Values that its templates cannot take, or a secret that is not set.
    pub fn new(
        site: &Arc<Site>,
        action: &Arc<Action>,
        values: Values,
        now: Millis,
    ) -> Result<Self, Failure> {
        let stars = |name: String| (name, STARS.to_owned());
        let secrets = needs(site, action).into_iter().map(stars).collect();
        Ok(Self {
            shown: fill(site, action, &values, &secrets, now)?,
            site: site.clone(),
            action: action.clone(),
            values,
        })
    }

    /// The exact request in the shape of HTTP, with stars for secrets.
    pub fn shown(&self, user_agent: &str) -> String {
        let out = &self.shown;
        let mut url = out.url.clone();
        for (name, _) in &out.secret_query {
            url.query_pairs_mut().append_pair(name, STARS);
        }
        let mut text = format!(
            "{} {}\n",
            out.method.word(),
            url.as_str().replace("%2A", "*")
        );
        let own_agent = |(name, _): &&(String, Secret)| name.eq_ignore_ascii_case("user-agent");
        if !out.secret_headers.iter().any(|header| own_agent(&header)) {
            let _ = writeln!(text, "user-agent: {user_agent}");
        }
        for (name, value) in &out.headers {
            let _ = writeln!(text, "{name}: {value}");
        }
        for (name, _) in &out.secret_headers {
            let _ = writeln!(text, "{}: {STARS}", name.to_ascii_lowercase());
        }
        let cookies: Vec<_> = out
            .cookies
            .iter()
            .map(|(name, _)| format!("{name}={STARS}"))
            .collect();
        if !cookies.is_empty() {
            let _ = writeln!(text, "cookie: {}", cookies.join("; "));
        }
        if let Some(body) = &out.body {
            let _ = writeln!(text, "content-type: {}\n\n{body}", body.kind());
        }
        text
    }

    /// Sends it, once; a session's secrets are asked for first. `wait` hears of waits.
    ///
    /// # Errors
    /// When no reply came, or the site refused.
    pub async fn send(&self, by_hand: &ByHand, wait: impl Fn(&str)) -> Result<Reply, Failure> {
        let site = &self.site;
        let secrets = session(site, &self.action, by_hand, &wait).await?;
        let out = fill(site, &self.action, &self.values, &secrets, by_hand.now())?;
        let reply = by_hand.send(site, &out, Accept::Json, &wait).await?;
        let refused = self.action.refused(&reply.body, reply.status);
        let failure = match refused {
            Some(error) => Failure::new(error.class, error.message),
            None if !(200..300).contains(&reply.status) => Failure::new(
                of_status(reply.status),
                format!("the site answered {}", reply.status),
            ),
            None => return Ok(reply),
        };
        Err(Failure {
            status: Some(reply.status),
            ..failure
        })
    }
}

fn needs(site: &Site, action: &Action) -> Vec<String> {
    let session = site.dialect.session.as_ref();
    session
        .map(|session| action.needs(session))
        .unwrap_or_default()
}

/// The request with everything in it. A header that holds a secret of the session is a secret itself.
fn fill(
    site: &Site,
    action: &Action,
    values: &Values,
    secrets: &BTreeMap<String, String>,
    now: Millis,
) -> Result<Outgoing, Failure> {
    let (mut request, secret) = action
        .request(&site.url, values, secrets)
        .map_err(|error| Failure::new(Class::Dialect, error))?;
    let all = std::mem::take(&mut request.headers);
    let (hidden, open): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(name, _)| secret.contains(name));
    request.headers = open;
    let mut out = with_secrets(site, request, now)?;
    let hidden = hidden
        .into_iter()
        .map(|(name, value)| (name, Secret::new(value)));
    out.secret_headers.extend(hidden);
    Ok(out)
}

/// What the session gives for an action.
async fn session(
    site: &Site,
    action: &Action,
    by_hand: &ByHand,
    wait: impl Fn(&str),
) -> Result<BTreeMap<String, String>, Failure> {
    let (names, Some(session)) = (needs(site, action), &site.dialect.session) else {
        return Ok(BTreeMap::new());
    };
    if names.is_empty() {
        return Ok(BTreeMap::new());
    }
    let request = session.request(&site.url);
    let request = request.map_err(|error| Failure::new(Class::Dialect, error))?;
    let mut text = None;
    if let Some(request) = request {
        let out = with_secrets(site, request, by_hand.now())?;
        let reply = by_hand.send(site, &out, Accept::Html, wait).await?;
        if !(200..300).contains(&reply.status) {
            let message = format!("the page of the session answered {}", reply.status);
            return Err(Failure::new(of_status(reply.status), message));
        }
        text = Some(String::from_utf8_lossy(&reply.body).into_owned());
    }
    let cookies = site.cookies_for(&site.url, by_hand.now()).into_iter();
    let cookies = cookies.filter_map(|(name, secret)| Some((name, secret.expose()?.to_owned())));
    let cookies = cookies.collect();
    let secret = |name: String| {
        let secret = session.secret(&name, &cookies, text.as_deref());
        let secret = secret.map_err(|error| Failure::new(Class::Auth, error))?;
        Ok((name, secret))
    };
    names.into_iter().map(secret).collect()
}
