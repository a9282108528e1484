//! `/v2/accounts/{account}/faxes/inbox…` and the same below `users/{user}`: received faxes.

use std::sync::Arc;

use serde_json::Value;

use super::account::expect;
use super::error::Fault;
use super::list::{self, Filters, Paging, Times};
use super::whose::Whose;
use super::{Call, Reply};
use crate::app::faxes::{self, Fax};
use crate::app::{App, Error, fetch, media_types};
use crate::time;

/// `GET …/faxes/inbox`: whole documents, the latest first.
pub async fn list(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let whose = Whose::of(&app, &call).await?;
    let (paging, filters, span) = (Paging::of(&app, &call)?, Filters::of(&call)?, list::span(&app, &call)?);
    let keep = |fax: &Fax| {
        let times = Times { created: fax.timestamp(), modified: fax.modified() };
        filters.pass(&fax.document.public(), times)
    };
    let page = faxes::page(&app, call.account()?, whose.owner(), span, &paging.ask, keep).await?;
    let rows = page.rows.iter().map(|fax| Value::Object(fax.document.public())).collect();
    Ok(paging.reply(rows, page.next.as_ref()))
}

/// The fax in the path.
async fn in_path(app: &App, call: &Call) -> Result<Fax, Error> {
    let whose = Whose::of(app, call).await?;
    let fax = faxes::get(app, call.account()?, call.param("fax")).await?;
    whose.expect(fax.owner_id())?;
    Ok(fax)
}

/// `GET …/faxes/inbox/{fax}`.
pub async fn read(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let fax = in_path(&app, &call).await?;
    let revision = fax.document.revision.to_string();
    if call.has(&revision) {
        return Ok(Reply::NotModified(revision));
    }
    Ok(Reply::ok(fax.document.public()).of(&fax.document))
}

/// `GET …/faxes/inbox/{fax}/attachment`: its pages.
pub async fn download(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let fax = in_path(&app, &call).await?;
    let account = call.account()?;
    let (name, pages) = fax.pages().ok_or_else(|| Error::NotFound(fax.id.to_string()))?;
    if call.has(&pages.generation) {
        return Ok(Reply::NotModified(pages.generation));
    }
    let kind = if call.query("disposition") == Some("inline") { "inline" } else { "attachment" };
    let (at, _) = time::local(fax.timestamp(), fax.timezone(account), "%Y-%m-%d_%H-%M-%S");
    let extension =
        media_types::extension_in(name.as_ref()).map(|extension| format!(".{extension}")).unwrap_or_default();
    let disposition = format!("{kind}; filename=fax_document_{at}{extension}");
    let range = super::download::range(&call, &pages.generation);
    let answer = fetch::answer(&app, &account.id, &fax.document, (&name, pages), range, &disposition).await?;
    Ok(Reply::Raw(super::download::answer(answer, disposition)))
}

/// `DELETE …/faxes/inbox/{fax}`.
pub async fn remove(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let fax = in_path(&app, &call).await?;
    expect(&call.if_match(), &fax.document.revision.to_string())?;
    faxes::remove(&app, call.account()?, &fax).await?;
    Ok(Reply::removed(fax.document.public(), &fax.document))
}

/// `DELETE …/faxes/inbox/{fax}/attachment`: its pages; that it was received is still known.
pub async fn remove_pages(app: Arc<App>, call: Call) -> Result<Reply, Fault> {
    let fax = in_path(&app, &call).await?;
    expect(&call.if_match(), &fax.document.revision.to_string())?;
    fax.pages().ok_or_else(|| Error::NotFound(fax.id.to_string()))?;
    let left = faxes::remove_pages(&app, call.account()?, &fax).await?;
    Ok(Reply::ok(left.document.public()).of(&left.document))
}
