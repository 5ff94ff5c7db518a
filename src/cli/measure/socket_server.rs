//! The server that `measure sockets` measures, alone in its process: pages on a small database, and trades announced at a
//! steady rate to all open sockets.
//!
//! It talks to its parent process by lines: it prints the login link, waits for a line, announces, waits for another line,
//! prints `<seq> <milliseconds>` for each announcement, and ends when the parent closes the pipe.

use std::io::BufRead;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use anyhow::Context as _;

use super::web_alone;
use crate::actors::live_hub::{Announce, LiveFact, LiveFrame, Subscribe, Topic};
use crate::clock::Clock;
use crate::config::Settings;
use crate::db::Inserted;
use crate::domain::events::event::{Side, TradeEvent};
use crate::domain::market::facts::Market;
use crate::domain::money::ids::{EventId, FollowedUserId};
use crate::domain::money::units::{PriceMicros, ShareMicros, UsdcMicros};
use crate::simulator::{NewMarket, Simulator, SimulatorSettings, wallet_of};

#[derive(clap::Args)]
pub struct SocketServerArguments {
    #[arg(long)]
    rate: u32,
    #[arg(long)]
    seconds: u32,
}

/// Subscribes only because the reply to a subscription contains the number of the last fact.
struct NullSubscriber;

impl Actor for NullSubscriber {
    type Context = Context<Self>;
}

impl Handler<LiveFrame> for NullSubscriber {
    type Result = ();

    fn handle(&mut self, _: LiveFrame, _: &mut Context<Self>) {}
}

pub async fn serve(settings: &Settings, arguments: SocketServerArguments) -> anyhow::Result<ExitCode> {
    let app = web_alone(settings).await?;
    let leader = "socket-leader";
    let user = match app.database().follow(leader, &wallet_of(leader), "measure", Clock::System.now()).await? {
        Inserted::New(user) => user,
        Inserted::Known => anyhow::bail!("the database is not empty"),
    };
    let exchange = Simulator::start(SimulatorSettings::default())?;
    let market = exchange.with(|exchange| exchange.add_market(NewMarket::binary("measured"))).facts;
    app.database().save_market(&market).await?;
    println!("{}", app.login_link().unwrap_or_default());
    wait_for_a_line().await?;

    let to = NullSubscriber.start().recipient();
    let before = app.live_hub().send(Subscribe { to, topics: vec![Topic::Trades], after: None }).await?.last;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / arguments.rate.max(1));
    let mut announced = String::new();
    for n in 1..=u64::from(arguments.rate) * u64::from(arguments.seconds) {
        pace.tick().await;
        let fact = LiveFact::TradeSeen(Arc::new(trade(n, user, &market)?));
        announced.push_str(&format!("{} {}\n", before + n, Clock::System.now().millis()));
        app.live_hub().send(Announce(vec![fact])).await?;
    }
    // Only when the parent reads: a full pipe would block this thread, and delay the last batch.
    wait_for_a_line().await?;
    println!("{announced}");
    wait_for_a_line().await?;
    app.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Waits for a line from the parent, or for the end of its pipe.
async fn wait_for_a_line() -> anyhow::Result<()> {
    let read = || std::io::stdin().lock().read_line(&mut String::new());
    tokio::task::spawn_blocking(read).await?.context("cannot read from the parent process")?;
    Ok(())
}

fn trade(n: u64, user: FollowedUserId, market: &Market) -> anyhow::Result<TradeEvent> {
    let source_id = format!("measured {n}");
    let now = Clock::System.now();
    let outcome = market.outcomes.first().context("a market has outcomes")?;
    Ok(TradeEvent {
        id: EventId::of_canonical(&source_id),
        source_id,
        tx_hash: format!("0x{n:064x}"),
        profile_wallet: wallet_of("socket-leader"),
        proxy_wallet: None,
        followed_user: user,
        market: market.id.clone(),
        asset: outcome.asset.clone(),
        side: if n.is_multiple_of(3) { Side::Sell } else { Side::Buy },
        price: PriceMicros::new(500_000)?,
        shares: ShareMicros(100_000_000),
        notional: UsdcMicros(50_000_000),
        fee: Some(UsdcMicros(12_345)),
        event_time: now.plus_millis(-2_000),
        detect_time: now,
    })
}
