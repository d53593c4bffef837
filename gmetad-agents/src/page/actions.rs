//! What may be asked for: measure now, acknowledge, silence. By a form of the page, or by a program.

use gmetad_core::agent::{Message, State};
use gmetad_core::message;
use gmetad_core::model::UnixTime;
use gmetad_http::Response;
use maud::{Markup, html};
use serde_json::{Value, json};

use super::access::{Denied, Shown, allowed};
use super::api;
use super::shell::{address, problem};
use super::visit::{Visit, shortened};
use crate::view::{Acknowledged, AgentView};

/// Characters of a name and of a comment.
const BY: usize = 64;
const COMMENT: usize = 500;
/// The longest silence.
const SILENCE: i64 = 366 * 86_400;

/// What was asked for, as texts by name.
struct Asked(Vec<(String, String)>);

impl Asked {
    /// A form, or an object of JSON.
    fn of(visit: &Visit<'_>) -> Self {
        let json =
            visit.request.header("content-type").is_some_and(|kind| kind.trim_start().starts_with("application/json"));
        if !json {
            return Self(visit.request.form());
        }
        let Ok(Value::Object(fields)) = serde_json::from_slice(visit.request.body()) else { return Self(Vec::new()) };
        let text = |value| match value {
            Value::String(text) => Some(text),
            Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
            _ => None,
        };
        Self(fields.into_iter().filter_map(|(name, value)| Some((name, text(value)?))).collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    fn says(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| matches!(value, "1" | "true" | "yes" | "on"))
    }
}

/// Why nothing was done.
struct Refusal {
    status: u16,
    /// What is wrong, and what to do.
    says: Box<[Message; 2]>,
    denied: Option<Denied>,
}

impl Refusal {
    fn new(status: u16, what: Message, remedy: Message) -> Self {
        Self { status, says: Box::new([what, remedy]), denied: None }
    }
}

/// Does what was asked; tells how the right to was shown.
fn act(visit: &Visit<'_>) -> Result<Shown, Refusal> {
    let asked = Asked::of(visit);
    let pages = visit.pages;
    let token = pages.options.token.as_ref();
    let shown = allowed(visit.request, token, asked.get("token"), &pages.sessions).map_err(|denied| {
        let (status, what, remedy) = denied.why();
        Refusal { denied: Some(denied), ..Refusal::new(status, what, remedy) }
    })?;
    let name = visit.request.captured("name").unwrap_or_default();
    let unknown = || {
        let remedy = message!("GET /api/v1/status lists those that there are");
        Refusal::new(404, message!("there is no agent {}", name), remedy)
    };
    if pages.board.agent(name).is_none() {
        return Err(unknown());
    }
    let clear = asked.says("clear");
    let done = match visit.request.captured("action").unwrap_or_default() {
        "measure" => {
            pages.control.measure(name).map_err(|why| Refusal::new(409, why, message!("try again in a moment")))?;
            true
        }
        "acknowledge" => {
            let user = visit.request.basic().map(|(user, _)| user).unwrap_or_default();
            let by = shortened(asked.get("by").unwrap_or(&user), BY);
            let comment = shortened(asked.get("comment").unwrap_or_default(), COMMENT);
            pages.control.acknowledge(name, (!clear).then_some(Acknowledged { time: visit.now, by, comment }))
        }
        "silence" => pages.control.silence(name, if clear { None } else { Some(until(&asked, visit.now)?) }),
        _ => {
            let what = message!("nothing of that name can be asked for");
            return Err(Refusal::new(404, what, "measure, acknowledge, silence".into()));
        }
    };
    if done { Ok(shown) } else { Err(unknown()) }
}

/// `until` (seconds since 1970) or `seconds` from now.
fn until(asked: &Asked, now: UnixTime) -> Result<UnixTime, Refusal> {
    let number = |name| asked.get(name).and_then(|text| text.parse::<i64>().ok());
    let until = number("until").or_else(|| number("seconds").map(|seconds| now.saturating_add(seconds)));
    until.filter(|until| *until > now && *until - now <= SILENCE).ok_or_else(|| {
        Refusal::new(
            400,
            message!("until when is missing or impossible"),
            message!("send seconds (1 to 31622400), until (a time since 1970), or clear=1"),
        )
    })
}

/// `POST /api/v1/agents/NAME/ACTION`.
pub(super) fn api(visit: &Visit<'_>) -> Response {
    match act(visit) {
        Ok(_) => api::json(200, &json!({ "done": visit.request.captured("action") })),
        Err(refusal) => {
            let [what, remedy] = &*refusal.says;
            let response = api::error(api::language(visit), refusal.status, what, remedy);
            refusal.denied.map_or(response.clone(), |denied| denied.complete(response))
        }
    }
}

/// `POST /agents/NAME/ACTION`: the buttons.
pub(super) fn form(visit: &Visit<'_>) -> Response {
    let lang = visit.lang;
    let name = visit.request.captured("name").unwrap_or_default();
    let action = visit.request.captured("action").unwrap_or_default();
    match act(visit) {
        Ok(shown) => {
            let response = Response::see_other(format!("{}?done={}", address(name), super::shell::encoded(action)));
            let cookie = (shown == Shown::Token).then(|| visit.pages.sessions.begin(visit.pages.options.tls)).flatten();
            cookie.map_or(response.clone(), |cookie| response.header("Set-Cookie", cookie))
        }
        Err(refusal) => {
            let text = match refusal.denied {
                Some(Denied::Token) => lang.text("The token is missing or wrong."),
                Some(Denied::Foreign) => lang.text("A page of another site asked for this."),
                Some(Denied::Off) => lang.text("Nothing can be asked for here: no token is configured."),
                None => &visit.message(&refusal.says[0]),
            };
            problem(visit, refusal.status, lang.text("This was not done"), text)
        }
    }
}

/// What a form has done, said once.
pub(super) fn notice(visit: &Visit<'_>) -> Markup {
    let lang = visit.lang;
    let text = match visit.parameter("done") {
        Some("measure") => lang.text("The agent measures now."),
        Some("acknowledge") => lang.text("Noted."),
        Some("silence") => lang.text("Noted."),
        _ => return html! {},
    };
    html! { p class="notice" role="status" { (text) } }
}

/// The buttons, if there is a token that one could know.
pub(super) fn section(visit: &Visit<'_>, view: &AgentView) -> Markup {
    let lang = visit.lang;
    if visit.pages.options.token.is_none() {
        return html! {};
    }
    let token = !visit.pages.sessions.knows(visit.request);
    let to = |action: &str| format!("{}{action}", address(&view.spec.name));
    let silent = view.silenced.is_some_and(|until| until > visit.now);
    let user = visit.request.basic().map(|(user, _)| user).unwrap_or_default();
    let known = view.acknowledged.is_some();
    html! {
        section class="actions" {
            h2 { (lang.text("Actions")) }
            form method="post" action=(to("measure")) {
                p {
                    label for="by" { (lang.text("Name")) }
                    input id="by" name="by" maxlength=(BY) size="12" value=(user) autocomplete="username";
                    @if token {
                        label for="token" { (lang.text("Token")) }
                        input id="token" type="password" name="token" required autocomplete="current-password" size="12";
                        span class="hint" { (lang.text("The token is remembered by this browser for half a day.")) }
                    }
                }
                // Enter in a field presses the first button: of a comment that is the one beside it.
                @if !known && view.status.state != State::Ok {
                    p {
                        label for="comment" { (lang.text("Comment")) }
                        input id="comment" name="comment" maxlength=(COMMENT) size="40" autocomplete="off";
                        button formaction=(to("acknowledge")) { (lang.text("Acknowledge")) }
                    }
                }
                p { button formaction=(to("measure")) { (lang.text("Measure now")) } }
                @if known {
                    p { button formaction=(to("acknowledge")) name="clear" value="1" { (lang.text("Withdraw the acknowledgement")) } }
                }
                p {
                    @if silent {
                        button formaction=(to("silence")) name="clear" value="1" { (lang.text("End the silence")) }
                    } @else {
                        label for="seconds" { (lang.text("No mail for")) }
                        select id="seconds" name="seconds" {
                            @for hours in [1i64, 4, 12, 24, 24 * 7] {
                                option value=(hours * 3600) { (super::when::span(lang, hours * 3600)) }
                            }
                        }
                        button formaction=(to("silence")) { (lang.text("Silence")) }
                    }
                }
            }
        }
    }
}
