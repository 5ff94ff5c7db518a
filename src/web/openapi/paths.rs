//! The table of the JSON routes: their parameters, bodies, answers and errors.

use utoipa::openapi::path::{HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{
    ContentBuilder, ObjectBuilder, Paths, RefOr, Required, ResponseBuilder, Schema, SecurityRequirement, Type,
};
use utoipa::{PartialSchema, ToSchema};

use super::schemas::{ConfigBody, WhatIfBody, any, many, object, one};
use crate::domain::config::effective::{StoredConfig, UserOverrides};
use crate::domain::money::units::Timestamp;
use crate::web::charts::series::Chart;
use crate::web::config::{change::FieldChange, history::History, page::ConfigView, what_if::runner::WhatIfView};
use crate::web::pages::control::{CloseAnswer, CloseForm, EngineState, PauseForm};
use crate::web::pages::explanation::ExplanationView;
use crate::web::pages::follow::{ChangeForm, FollowForm, FollowedUserView};
use crate::web::pages::markets::{BlacklistAnswer, BlacklistForm, MarketsView};
use crate::web::pages::overview::Overview;
use crate::web::pages::portfolio::{GlobalPortfolioView, PeakAnswer, PeakForm};
use crate::web::pages::status::StatusView;
use crate::web::pages::user::UserDetail;
use crate::web::pages::users::UsersView;
use crate::web::server::error_page::Problem;
use crate::web::views::activities::ActivityView;
use crate::web::views::attempts::AttemptView;
use crate::web::views::health::{BareHealth, HealthView};
use crate::web::views::trades::TradeView;

/// The groups of routes.
pub const TAGS: &[(&str, &str)] = &[
    ("read", "Figures and lists. A token with the scope READ is enough."),
    ("series", "The data of charts."),
    ("change", "Changes. They need a session with a CSRF token, or a token with the scope WRITE."),
    ("test", "Tests of a configuration on recorded groups and books."),
];

type Parameter = (&'static str, &'static str);

const LIMIT: Parameter = ("limit", "Number of rows, 1 to 200; 50 when missing.");
const CURSOR: Parameter = ("cursor", "The `next_cursor` of the page before.");
const USER: Parameter = ("user", "Only rows of this followed user, by number.");
const MARKET: Parameter = (
    "market",
    "Only rows of this market: its condition id, or a text that is in the question or slug of one market only.",
);
const SIDE: Parameter = ("side", "Only `BUY` or only `SELL`.");
const FROM: Parameter = ("from", "Only rows from this time on, ISO 8601; UTC when it has no zone.");
const TO: Parameter = ("to", "Only rows before this time, ISO 8601; UTC when it has no zone.");
const RANGE: Parameter = ("range", "`1h`, `24h`, `7d`, `30d` or `all`; `24h` when missing.");

/// One route of the table.
struct Route {
    method: HttpMethod,
    path: &'static str,
    tag: &'static str,
    about: &'static str,
    query: &'static [Parameter],
    body: Option<RefOr<Schema>>,
    /// The status of each answer that is not an error, with its meaning and its schema.
    answers: Vec<(&'static str, &'static str, RefOr<Schema>)>,
    /// Errors besides those that any route can have.
    errors: &'static [&'static str],
    is_open: bool,
}

fn get(path: &'static str, about: &'static str, answer: RefOr<Schema>) -> Route {
    Route {
        method: HttpMethod::Get,
        path,
        tag: if path.starts_with("/api/series") { "series" } else { "read" },
        about,
        query: &[],
        body: None,
        answers: vec![("200", "The answer.", answer)],
        errors: &[],
        is_open: false,
    }
}

fn post(path: &'static str, about: &'static str, body: RefOr<Schema>, answer: RefOr<Schema>) -> Route {
    let errors = &["400", "403", "408", "413"];
    Route { method: HttpMethod::Post, tag: "change", body: Some(body), errors, ..get(path, about, answer) }
}

impl Route {
    fn query(self, query: &'static [Parameter]) -> Self {
        Self { query, errors: &["400"], ..self }
    }

    fn errors(self, errors: &'static [&'static str]) -> Self {
        Self { errors, ..self }
    }

    fn tag(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    fn answers(self, answers: Vec<(&'static str, &'static str, RefOr<Schema>)>) -> Self {
        Self { answers, ..self }
    }
}

/// Returns the routes that read.
fn reads() -> Vec<Route> {
    let health = any(&[one::<HealthView>(), one::<BareHealth>()]);
    let health = vec![
        ("200", "The bot works, perhaps with a part that needs a look.", health.clone()),
        ("503", "The database does not answer.", health),
    ];
    let about = "The health of the bot; without a session or token the status alone.";
    let description =
        ObjectBuilder::new().schema_type(Type::Object).description(Some("An OpenAPI 3.1 document.")).into();
    vec![
        Route { is_open: true, ..get("/api/health", about, one::<HealthView>()) }.answers(health),
        get("/api/overview", "The figures of the global portfolio and the newest rows.", one::<Overview>()),
        get("/api/users", "All followed users with their figures.", one::<UsersView>()),
        get("/api/users/{id}", "One followed user: their PnL, our copies, and the gap.", one::<UserDetail>())
            .query(&[RANGE])
            .errors(&["400", "404"]),
        get(
            "/api/portfolio/global",
            "The global portfolio: limits, exposures, open lots.",
            one::<GlobalPortfolioView>(),
        ),
        get("/api/trades", "The leaders' fills, newest first.", list_of::<TradeView>())
            .query(&[LIMIT, CURSOR, USER, MARKET, SIDE, FROM, TO]),
        get("/api/copy-attempts", "Our decisions, newest first.", list_of::<AttemptView>()).query(&[
            LIMIT,
            CURSOR,
            USER,
            MARKET,
            ("scope", "Only `EXEC_USER` or only `EXEC_GLOBAL`."),
            ("decision", "Only `EXECUTE` or only `SKIP`."),
            ("reason", "Only skips with this reason code."),
            ("side", "Only `BUY`, only `SELL`, or `CLOSE` for closes by hand."),
            FROM,
            TO,
        ]),
        get("/api/copy-attempts/{id}", "One decision with all that it was based on.", one::<ExplanationView>())
            .errors(&["404"]),
        get("/api/activities", "The leaders' activity beside trading, newest first.", list_of::<ActivityView>())
            .query(&[LIMIT, CURSOR, USER, MARKET, ("type", "Only this kind, for example `MERGE`."), FROM, TO]),
        get("/api/markets", "The markets with our figures in them.", one::<MarketsView>()).query(&[
            ("q", "Only markets with this text in their question or slug."),
            ("show", "`all`, `held`, `traded` or `blacklisted`."),
            ("period", "The time that the counts cover: `24h` or `7d`."),
            CURSOR,
        ]),
        get("/api/config", "The settings: defaults, stored values, effective values.", one::<ConfigView>()),
        get(
            "/api/config/test/{id}",
            "A test of a configuration, with its result once it is done.",
            one::<WhatIfView>(),
        )
        .errors(&["404"])
        .tag("test"),
        get("/api/status", "The inside of the bot: queues, workers, upstreams, database.", one::<StatusView>()).query(
            &[("before", "Only dead letters with a smaller number."), ("queue", "Only dead letters of this queue.")],
        ),
        get("/api/audit", "The audit log, newest first.", one::<History>())
            .query(&[("action", "Only rows with this action."), ("before", "Only rows with a smaller number.")]),
        get("/api/openapi.json", "This description.", description),
    ]
}

/// Returns the routes of charts.
fn series() -> Vec<Route> {
    const ASSET: Parameter = ("asset", "The outcome token; the first of the market when missing.");
    vec![
        get("/api/series/portfolio", "Equity and drawdown of a portfolio.", one::<Chart>())
            .query(&[RANGE, ("of", "`global`, `EXEC_USER:7` or `SHADOW_USER:7`; `global` when missing.")]),
        get("/api/series/user/{id}", "Our copies of a leader, a perfect copy, and the gap.", one::<Chart>())
            .query(&[RANGE])
            .errors(&["400", "404"]),
        get("/api/series/market/{id}", "The midpoints of one outcome.", one::<Chart>())
            .query(&[ASSET, RANGE])
            .errors(&["400", "404"]),
        get("/api/series/market/{id}/slippage", "Each copy's price less the leader's.", one::<Chart>())
            .query(&[ASSET, RANGE])
            .errors(&["400", "404"]),
    ]
}

/// Returns the routes that change something.
fn changes() -> Vec<Route> {
    const FOUND: &[&str] = &["400", "403", "404", "408", "413"];
    let empty: RefOr<Schema> =
        ObjectBuilder::new().schema_type(Type::Object).description(Some("No fields; the body may be missing.")).into();
    let cancel = "/api/config/test/{id}/cancel";
    let cancelled = post(cancel, "Cancels a test.", empty.clone(), one::<WhatIfView>()).errors(FOUND).tag("test");
    let deleted =
        post("/api/config/test/{id}", "Cancels a test.", empty, one::<WhatIfView>()).errors(FOUND).tag("test");
    vec![
        post(
            "/api/control/pause",
            "Pauses copying or new positions, or goes on.",
            one::<PauseForm>(),
            one::<EngineState>(),
        ),
        post("/api/control/peak", "Resets the peak of a portfolio.", one::<PeakForm>(), one::<PeakAnswer>()),
        post(
            "/api/positions/close",
            "Sells what we hold of a leader into the book of now.",
            one::<CloseForm>(),
            one::<CloseAnswer>(),
        )
        .errors(FOUND)
        .answers(vec![("202", "The closes; their attempts come within seconds.", one::<CloseAnswer>())]),
        post("/api/users", "Follows a trader.", one::<FollowForm>(), one::<FollowedUserView>())
            .errors(&["400", "403", "404", "408", "409", "413", "502"])
            .answers(vec![
                ("200", "The trader was known, and is active now.", one::<FollowedUserView>()),
                ("201", "The trader is followed now.", one::<FollowedUserView>()),
            ]),
        post(
            "/api/users/{id}",
            "Renames a followed user, or changes how they are followed.",
            one::<ChangeForm>(),
            one::<FollowedUserView>(),
        )
        .errors(FOUND),
        post(
            "/api/markets/{id}",
            "Refuses or allows copies in a market.",
            one::<BlacklistForm>(),
            one::<BlacklistAnswer>(),
        )
        .errors(FOUND),
        post("/api/config/global", "Changes global settings.", one::<ConfigBody>(), saved::<StoredConfig>()),
        post(
            "/api/config/user/{id}",
            "Changes the settings of one leader.",
            one::<ConfigBody>(),
            saved::<UserOverrides>(),
        )
        .errors(FOUND),
        post("/api/config/test", "Begins a test of a configuration.", one::<WhatIfBody>(), one::<WhatIfView>())
            .errors(&["400", "403", "404", "408", "409", "413"])
            .answers(vec![("202", "The test has begun; `location` has its address.", one::<WhatIfView>())])
            .tag("test"),
        Route { method: HttpMethod::Delete, ..deleted },
        cancelled,
    ]
}

fn list_of<T: ToSchema>() -> RefOr<Schema> {
    let cursor = any(&[ObjectBuilder::new().schema_type(Type::Null).into(), String::schema()]);
    let list = object(
        "One page of a list, newest first.",
        [
            ("data", many::<T>(), "The rows."),
            ("next_cursor", cursor, "The `cursor` of the next, older page; null at the end."),
            (
                "looked_back_to",
                one::<Timestamp>(),
                "Only there when matches are so rare that the search stopped at this time; `next_cursor` continues it.",
            ),
        ],
    );
    list.required("data").required("next_cursor").into()
}

fn saved<T: ToSchema>() -> RefOr<Schema> {
    let fields = [
        ("config", one::<T>(), "The values after the change."),
        ("changes", many::<FieldChange>(), "The changed fields."),
    ];
    object("A saved change.", fields).required("config").required("changes").into()
}

/// Returns the components of all bodies and answers.
pub fn components() -> Vec<(String, RefOr<Schema>)> {
    let mut all = Vec::new();
    macro_rules! add {
        ($($name:ty),+ $(,)?) => {$(
            all.push((<$name as ToSchema>::name().into_owned(), <$name as PartialSchema>::schema()));
            <$name as ToSchema>::schemas(&mut all);
        )+};
    }
    add!(HealthView, BareHealth, Overview, UsersView, UserDetail, GlobalPortfolioView, TradeView, AttemptView);
    add!(ExplanationView, ActivityView, MarketsView, ConfigView, WhatIfView, StatusView, History, Chart, Problem);
    add!(
        CloseForm,
        CloseAnswer,
        PauseForm,
        EngineState,
        PeakForm,
        PeakAnswer,
        FollowForm,
        FollowedUserView,
        ChangeForm,
        BlacklistForm
    );
    add!(BlacklistAnswer, FieldChange);
    all
}

/// Returns the description of every route.
pub fn paths() -> Paths {
    let routes = reads().into_iter().chain(series()).chain(changes());
    let item = |route: Route| (route.path, PathItem::new(route.method.clone(), operation(route)));
    routes.map(item).fold(PathsBuilder::new(), |paths, (path, item)| paths.path(path, item)).build()
}

fn operation(route: Route) -> OperationBuilder {
    let mut operation = OperationBuilder::new().tag(route.tag).summary(Some(route.about));
    if route.path.contains("{id}") {
        let id = parameter(("id", "The id in the address."), ParameterIn::Path).required(Required::True);
        operation = operation.parameter(id);
    }
    for query in route.query {
        operation = operation.parameter(parameter(*query, ParameterIn::Query).required(Required::False));
    }
    let body = route.body.map(|body| {
        let content = ContentBuilder::new().schema(Some(body)).build();
        RequestBodyBuilder::new().content("application/json", content).build()
    });
    operation = operation.request_body(body);
    for (status, about, schema) in route.answers {
        operation = operation.response(status, response(about, "application/json", schema));
    }
    for status in route.errors.iter().chain(&["401", "429", "500", "default"]) {
        operation =
            operation.response(*status, response(meaning(status), "application/problem+json", one::<Problem>()));
    }
    // An empty requirement beside the others: the route is open, and answers more with a session or token.
    let open = route.is_open.then(SecurityRequirement::default);
    let none: [&str; 0] = [];
    let credentials = ["token", "session"].map(|name| SecurityRequirement::new(name, none));
    operation.securities(Some(open.into_iter().chain(credentials)))
}

fn parameter((name, about): Parameter, place: ParameterIn) -> ParameterBuilder {
    ParameterBuilder::new().name(name).parameter_in(place).description(Some(about)).schema(Some(String::schema()))
}

fn response(about: &str, content_type: &str, schema: RefOr<Schema>) -> utoipa::openapi::Response {
    ResponseBuilder::new()
        .description(about)
        .content(content_type, ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

/// Returns the meaning of an error of our routes.
fn meaning(status: &str) -> &'static str {
    match status {
        "400" => "A parameter or a field of the body is wrong; `detail` names it.",
        "401" => "There is no session and no token, or the token is wrong or was revoked.",
        "403" => "The token may only read, or the CSRF token is missing or old.",
        "404" => "There is nothing with this id.",
        "408" => "The body took too long to arrive.",
        "409" => "The request conflicts with the state, for example too many tests are running.",
        "413" => "The body is larger than 64 KiB.",
        "429" => "Too many requests or attempts; wait a minute.",
        "500" => "An error of ours; the log has the details.",
        "502" => "Polymarket does not answer.",
        _ => "Any other error, for example 421 for a wrong host or 503 while the server is busy.",
    }
}
