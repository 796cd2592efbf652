//! `httpGet`: one request, redirects of the same host followed, any answer from 200 to 399 is success.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{
    address,
    question::{Answer, Http},
    tls,
};

/// How many redirects are followed.
const REDIRECTS: usize = 10;
/// How much of an answer is read.
const BODY: usize = 10 << 10;
/// The version of Kubernetes whose probes these are.
const VERSION: &str = "1.36";

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Target {
    https: bool,
    host: String,
    port: u16,
    /// Path and query, escaped.
    path: String,
}

impl Target {
    fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", address::authority(&self.host, self.port), self.path)
    }

    /// Where `location`, found here, leads.
    fn join(&self, location: &str) -> Option<Self> {
        let Some((scheme, rest)) = location.split_once("://").filter(|(scheme, _)| !scheme.contains('/')) else {
            if location.starts_with("//") {
                let scheme = if self.https { "https:" } else { "http:" };
                return self.join(&format!("{scheme}{location}"));
            }
            return Some(Self { path: joined(&self.path, location), ..self.clone() });
        };
        let https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let (place, path) = rest.find(['/', '?', '#']).map_or((rest, ""), |at| rest.split_at(at));
        let place: http::uri::Authority = place.parse().ok()?;
        let port = place.port_u16().unwrap_or(if https { 443 } else { 80 });
        Some(Self { https, host: place.host().to_owned(), port, path: escaped(path) })
    }
}

/// A relative reference, resolved as far as servers use them: a path from the root, one beside the present one, a query.
fn joined(present: &str, reference: &str) -> String {
    if reference.starts_with('/') {
        return escaped(reference);
    }
    let path = present.split(['?', '#']).next().unwrap_or_default();
    if reference.is_empty() || reference.starts_with(['?', '#']) {
        return escaped(&format!("{path}{reference}"));
    }
    let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
    escaped(&format!("{directory}{reference}"))
}

/// A path with its query as it may stand in a request: from the root, without a fragment, nothing in it that is no
/// character of a URL.
fn escaped(path: &str) -> String {
    let path = path.split('#').next().unwrap_or_default();
    let mut text = String::with_capacity(path.len() + 1);
    if !path.starts_with('/') {
        text.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'!' | b'$'..=b';' | b'=' | b'?'..=b'_' | b'a'..=b'z' | b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

/// Asks, and says what came of it.
pub(crate) async fn ask(request: &Http, hook: bool) -> Answer {
    let mut target =
        Target { https: request.https, host: request.host.clone(), port: request.port, path: escaped(&request.path) };
    let headers = match headers(&request.headers, if hook { "kube-lifecycle" } else { "kube-probe" }) {
        Ok(headers) => headers,
        Err(message) => return Answer::error(message),
    };
    let first = target.url();
    for followed in 0.. {
        let answer = match get(&target, &headers).await {
            Ok(answer) => answer,
            // A hook that is answered in clear is asked again in clear.
            Err(Refusal::Clear) if hook && target.https => {
                target.https = false;
                continue;
            }
            Err(refusal) => return Answer::failure(format!("Get \"{}\": {}", target.url(), refusal.words())),
        };
        match answer.location.as_deref().and_then(|location| target.join(location)) {
            Some(next) if next.host.eq_ignore_ascii_case(&target.host) => {
                if followed == REDIRECTS {
                    return Answer::failure(format!("Get \"{first}\": stopped after {REDIRECTS} redirects"));
                }
                target = next;
            }
            _ => return answer.verdict(hook),
        }
    }
    Answer::error("no request was made".into())
}

/// What a server said.
struct Said {
    status: StatusCode,
    /// Where a redirect leads.
    location: Option<String>,
    body: Result<String, String>,
}

impl Said {
    fn verdict(self, hook: bool) -> Answer {
        let (status, body) = (self.status, self.body);
        match (hook, body) {
            (true, _) => Answer::success(String::new()),
            (false, Err(reason)) => Answer::failure(reason),
            (false, Ok(body)) if status.is_success() => Answer::success(body),
            (false, Ok(body)) if status.is_redirection() => {
                Answer::warning(format!("Probe terminated redirects, Response body: {body}"))
            }
            (false, Ok(_)) => Answer::failure(format!("HTTP probe failed with statuscode: {}", status.as_u16())),
        }
    }
}

/// Why there is no answer.
enum Refusal {
    /// What should be TLS is none.
    Clear,
    /// In words.
    Other(String),
}

impl Refusal {
    fn words(self) -> String {
        match self {
            Self::Clear => "http: server gave HTTP response to HTTPS client".into(),
            Self::Other(words) => words,
        }
    }
}

/// The headers of a request: those of the manifest, and what is not said there. One that is given empty is left out.
fn headers(given: &[(String, String)], agent: &str) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
    let mut headers = Vec::with_capacity(given.len() + 2);
    for (name, value) in given {
        let name: HeaderName = name.parse().map_err(|_| format!("header {name:?} has no valid name"))?;
        let value = HeaderValue::from_str(value).map_err(|_| format!("header {name} has no valid value"))?;
        headers.push((name, value));
    }
    for (name, value) in [(header::USER_AGENT, format!("{agent}/{VERSION}")), (header::ACCEPT, "*/*".into())] {
        if !headers.iter().any(|(given, _)| *given == name) {
            headers.push((name, HeaderValue::from_str(&value).map_err(|error| error.to_string())?));
        }
    }
    let may_be_left_out = [header::USER_AGENT, header::ACCEPT, header::HOST];
    headers.retain(|(name, value)| !value.is_empty() || !may_be_left_out.contains(name));
    Ok(headers)
}

async fn get(target: &Target, headers: &[(HeaderName, HeaderValue)]) -> Result<Said, Refusal> {
    let stream = address::connect(&target.host, target.port).await.map_err(Refusal::Other)?;
    if !target.https {
        return exchange(stream, target, headers).await;
    }
    match tls::encrypt(stream, &target.host).await {
        Ok(stream) => exchange(stream, target, headers).await,
        Err(tls::Refusal::Clear) => Err(Refusal::Clear),
        Err(tls::Refusal::Other(words)) => Err(Refusal::Other(words)),
    }
}

async fn exchange<S>(stream: S, target: &Target, headers: &[(HeaderName, HeaderValue)]) -> Result<Said, Refusal>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let failed = |error: hyper::Error| Refusal::Other(in_words(&error));
    let mut client = http1::Builder::new();
    client.title_case_headers(true);
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let request = request(target, headers).map_err(|error| Refusal::Other(error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(failed)?;
    let said = read(answer).await;
    connection.abort();
    Ok(said)
}

fn request(target: &Target, headers: &[(HeaderName, HeaderValue)]) -> http::Result<Request<Empty<Bytes>>> {
    let mut request = Request::get(target.path.parse::<Uri>()?).header(header::CONNECTION, "close");
    if !headers.iter().any(|(name, _)| *name == header::HOST) {
        request = request.header(header::HOST, address::authority(&target.host, target.port));
    }
    for (name, value) in headers {
        request = request.header(name, value);
    }
    request.body(Empty::new())
}

async fn read(answer: Response<Incoming>) -> Said {
    let status = answer.status();
    let leads_on = [301, 302, 303, 307, 308].contains(&status.as_u16());
    let location = answer.headers().get(header::LOCATION).filter(|_| leads_on);
    let location = location.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = answer.into_body();
    let mut bytes = Vec::new();
    while bytes.len() < BODY {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data)),
            Some(Err(error)) => return Said { status, location, body: Err(in_words(&error)) },
            None => break,
        }
    }
    bytes.truncate(BODY);
    Said { status, location, body: Ok(String::from_utf8_lossy(&bytes).into_owned()) }
}

/// An error with its causes.
fn in_words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push_str(&format!(": {error}"));
        cause = error.source();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> Target {
        let anywhere = Target { https: false, host: "x".into(), port: 1, path: "/".into() };
        anywhere.join(url).unwrap()
    }

    #[test]
    fn p6_a_redirect_leads_where_its_location_says() {
        let here = at("http://pod:8080/a/b?c=d");
        let leads = |location: &str| here.join(location).map(|target| target.url());
        assert_eq!(leads("/x").as_deref(), Some("http://pod:8080/x"));
        assert_eq!(leads("x?y#z").as_deref(), Some("http://pod:8080/a/x?y"));
        assert_eq!(leads("?q").as_deref(), Some("http://pod:8080/a/b?q"));
        assert_eq!(leads("https://pod/x").as_deref(), Some("https://pod:443/x"));
        assert_eq!(leads("//other:81").as_deref(), Some("http://other:81/"));
        assert_eq!(leads("/to?url=http://other/").as_deref(), Some("http://pod:8080/to?url=http://other/"));
        assert_eq!(leads("gopher://pod/"), None);
        assert_eq!(at("http://[fd00::1]:80/").url(), "http://[fd00::1]:80/");
    }

    #[test]
    fn a_path_is_escaped_and_begins_at_the_root() {
        assert_eq!(escaped(""), "/");
        assert_eq!(escaped("healthz?full=1"), "/healthz?full=1");
        assert_eq!(escaped("/a b/\u{fc}\"<>#f"), "/a%20b/%C3%BC%22%3C%3E");
        assert_eq!(escaped("/%41"), "/%41");
        assert!(escaped("/~a!$&'()*+,;=:@[]{}|^`\\").parse::<Uri>().is_ok());
    }

    #[test]
    fn p6_headers_are_those_of_the_manifest_and_the_usual_ones() {
        let of = |given: &[(&str, &str)]| {
            let given: Vec<_> = given.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
            let headers = headers(&given, "kube-probe").unwrap();
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect::<Vec<_>>()
        };
        assert_eq!(of(&[]), ["user-agent: kube-probe/1.36", "accept: */*"]);
        assert_eq!(of(&[("X-A", ""), ("Accept", "")]), ["x-a: ", "user-agent: kube-probe/1.36"]);
        assert_eq!(of(&[("user-agent", "me"), ("Accept", "a/b")]), ["user-agent: me", "accept: a/b"]);
        assert!(headers(&[("a b".into(), "c".into())], "x").is_err());
    }
}
