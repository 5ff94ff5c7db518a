//! Users and configuration are read back equal, audited, and noticed by the running bot.

use polymarketspy::db::Inserted;
use polymarketspy::domain::config::effective::{
    ConfigChange, ConfigPatch, GuardrailPatch, SizingPatch, StoredConfig, SystemPatch, UserOverrides,
};
use polymarketspy::domain::money::ids::FollowedUserId;
use polymarketspy::domain::money::units::{Bps, UsdcMicros};

use super::facts::{NOW, follow, market, market_id, wallet};
use super::harness::{on_both, sql};

on_both! {
    async fn a_fresh_database_has_the_defaults(db: &Db) {
        let directory = db.directory().await.unwrap();
        assert_eq!(directory.config, StoredConfig::default());
        assert_eq!((directory.revision, directory.users.len(), directory.overrides.len()), (0, 0, 0));
    }

    async fn settings_are_read_back_equal_and_the_rest_stays(db: &Db) {
        let sizing = SizingPatch { copy_pct_notional: Some(Bps(250)), apply_taker_fees: Some(false), ..Default::default() };
        let system = SystemPatch { copy_engine_enabled: Some(false), ..Default::default() };
        let patch = ConfigPatch { sizing, system, ..Default::default() };
        let saved = db.save_global(&patch, "a test", NOW).await.unwrap();
        assert_eq!(saved, StoredConfig::default().with(&patch));
        let more = ConfigPatch {
            guardrails: GuardrailPatch { max_total_exposure: Some(Bps(5_000)), ..Default::default() },
            sizing: SizingPatch { min_trade_notional: Some(UsdcMicros(1)), ..Default::default() },
            ..Default::default()
        };
        db.save_global(&more, "a test", NOW).await.unwrap();
        let directory = db.directory().await.unwrap();
        assert_eq!(directory.config, StoredConfig::default().with(&patch).with(&more));
        assert_eq!(directory.revision, 2);

        let audits = db.audits(Some("save_config"), None, 10).await.unwrap();
        assert_eq!(audits.len(), 2);
        assert_eq!(audits[0].audit.before_json, audits[1].audit.after_json, "newest first, each from where the last ended");
    }

    async fn changes_that_meet_are_both_kept(db: &Db) {
        let exposure = |bps| GuardrailPatch { max_total_exposure: Some(Bps(bps)), ..Default::default() };
        let loss = |bps| GuardrailPatch { daily_loss_limit: Some(Bps(bps)), ..Default::default() };
        for n in 1..=10 {
            let (a, b) = (ConfigPatch { guardrails: exposure(n), ..Default::default() }, ConfigPatch { guardrails: loss(n), ..Default::default() });
            let (one, other) = futures_util::future::join(db.save_global(&a, "one", NOW), db.save_global(&b, "other", NOW)).await;
            one.and(other).unwrap();
            let guardrails = db.directory().await.unwrap().config.guardrails;
            assert_eq!((guardrails.max_total_exposure, guardrails.daily_loss_limit), (Bps(n), Bps(n)));
        }
    }

    async fn a_users_own_fields_are_kept_beside_the_global_ones(db: &Db) {
        let user = follow(db, 1).await;
        let first = UserOverrides {
            sizing: SizingPatch { copy_pct_notional: Some(Bps(50)), ..Default::default() },
            ..Default::default()
        };
        let second = UserOverrides {
            guardrails: GuardrailPatch { max_signal_age_seconds: Some(60), ..Default::default() },
            ..Default::default()
        };
        db.save_user(user, &first, "a test", NOW).await.unwrap();
        db.save_user(user, &second, "a test", NOW).await.unwrap();
        let directory = db.directory().await.unwrap();
        let both = UserOverrides { guardrails: second.guardrails, sizing: first.sizing };
        assert_eq!(directory.overrides.get(&user), Some(&both));
        assert_eq!(directory.config, StoredConfig::default());
        db.replace_overrides(user, &UserOverrides::default(), "a test", NOW).await.unwrap();
        assert!(db.directory().await.unwrap().overrides.is_empty());
    }

    async fn fields_are_given_back_and_a_change_that_changes_nothing_leaves_no_trace(db: &Db) {
        let user = follow(db, 1).await;
        let field = |name| StoredConfig::fields().find(|field| field.name == name).unwrap();
        let sizing = SizingPatch { copy_pct_notional: Some(Bps(50)), min_trade_notional: Some(UsdcMicros(7)), ..Default::default() };
        let set = ConfigChange::setting(ConfigPatch { sizing: sizing.clone(), ..Default::default() });
        let back = ConfigChange { unset: vec![field("copyPctNotionalBps")], ..Default::default() };
        let left = SizingPatch { copy_pct_notional: None, ..sizing };

        db.change_global(&set, "a test", NOW).await.unwrap();
        let (before, after) = db.change_global(&back, "a test", NOW).await.unwrap();
        assert_eq!((before.sizing.copy_pct_notional, after.sizing.copy_pct_notional), (Bps(50), Bps(100)));
        assert_eq!(after.sizing.min_trade_notional, UsdcMicros(7));
        db.change_overrides(user, &set, "a test", NOW).await.unwrap();
        let (_, after) = db.change_overrides(user, &back, "a test", NOW).await.unwrap();
        assert_eq!(after, UserOverrides { sizing: left, ..Default::default() });

        let revision = db.revision().await.unwrap();
        assert_eq!(db.change_overrides(user, &back, "a test", NOW).await.unwrap(), (after.clone(), after.clone()));
        db.change_global(&back, "a test", NOW).await.unwrap();
        assert_eq!((db.revision().await.unwrap(), db.audits(Some("save_config"), None, 9).await.unwrap().len()), (revision, 4));
        let directory = db.directory().await.unwrap();
        assert_eq!((directory.config.sizing.min_trade_notional, directory.overrides.get(&user)), (UsdcMicros(7), Some(&after)));
    }

    async fn a_stored_wallet_is_not_followed_as_unknown(db: &Db) {
        let user = follow(db, 1).await;
        sql!(db, format!(
            "insert into followed_user_proxy_wallet (followed_user_id, wallet) values ({user}, '{}')", wallet(2)
        )).unwrap();
        db.set_enabled(user, false, "a test", NOW).await.unwrap();
        let before = (db.followed_users().await.unwrap(), db.directory().await.unwrap().revision);
        for n in [1, 2] {
            let again = db.follow_if_unknown("again", &wallet(n), "settings", NOW).await.unwrap();
            assert_eq!(again, Inserted::Known, "wallet {n}");
        }
        assert_eq!((db.followed_users().await.unwrap(), db.directory().await.unwrap().revision), before);

        let new = db.follow_if_unknown("third", &wallet(3), "settings", NOW).await.unwrap();
        assert!(matches!(new, Inserted::New(_)));
        assert_eq!(db.directory().await.unwrap().revision, before.1 + 1, "a running bot notices");
        let followed = db.audits(Some("follow"), None, 1).await.unwrap();
        assert_eq!(followed[0].audit.who, "settings");
    }

    async fn following_twice_follows_once_and_wakes_the_disabled(db: &Db) {
        let user = follow(db, 1).await;
        assert!(db.set_enabled(user, false, "a test", NOW).await.unwrap());
        assert!(!db.followed_users().await.unwrap()[0].enabled());
        assert_eq!(db.follow("other words", &wallet(1), "a test", NOW).await.unwrap(), Inserted::Known);
        let users = db.followed_users().await.unwrap();
        assert_eq!((users.len(), users[0].enabled(), users[0].label.as_str()), (1, true, "leader 1"));
        assert!(db.rename(user, "'; drop table followed_user; --", "a test", NOW).await.unwrap());
        assert_eq!(db.followed_users().await.unwrap()[0].label, "'; drop table followed_user; --");
        assert!(!db.rename(FollowedUserId(99), "nobody", "a test", NOW).await.unwrap());
    }

    async fn every_change_that_matters_is_noticed_and_none_that_does_not(db: &Db) {
        let user = follow(db, 1).await;
        assert_eq!(db.revision().await.unwrap(), 1);
        db.set_enabled(user, true, "a test", NOW).await.unwrap();
        assert_eq!(db.revision().await.unwrap(), 1, "it was enabled already");
        db.set_enabled(user, false, "a test", NOW).await.unwrap();
        assert_eq!(db.revision().await.unwrap(), 2);
        db.save_market(&market(1)).await.unwrap();
        assert_eq!(db.revision().await.unwrap(), 2);
        assert!(db.set_blacklisted(&market_id(1), true, "a test", NOW).await.unwrap());
        assert!(!db.set_blacklisted(&market_id(1), true, "a test", NOW).await.unwrap());
        assert_eq!(db.revision().await.unwrap(), 3);
        for n in 4..=12 {
            db.set_enabled(user, n % 2 == 0, "a test", NOW).await.unwrap();
            assert_eq!(db.revision().await.unwrap(), n, "also with a second digit");
        }
    }
}
