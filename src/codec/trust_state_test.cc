// Each attack of X2 as a test: what somebody between publisher and gateway, or with one of the keys, would try.

#include "codec/trust_state.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/rng.h"
#include "codec/archive.h"
#include "codec/trust_fixture.h"

namespace tidelock {
namespace {

void denied(const Result<void>& done, const std::string& part, const std::string& why) {
  ASSERT_FALSE(done) << why;
  EXPECT_EQ(done.error().code, Code::kDenied) << why << ": " << done.error().message;
  EXPECT_NE(done.error().message.find(part), std::string::npos) << why << ": " << done.error().message;
}

class TrustTest : public testing::Test {
 protected:
  void SetUp() override {
    trust_ = *Trust::anchor(p_.signed_root());
    ASSERT_TRUE(accept(trust_, p_.set()));
  }
  // The next root, in which `change` was made; signed by all keys that it and the one before need.
  Bytes next_root(const std::function<void(TrustRootFile&)>& change, std::vector<SigningKey> also = {}) {
    ++p_.root.head.version;
    change(p_.root);
    std::vector<SigningKey> signers{p_.root_keys[0], p_.root_keys[1]};
    signers.insert(signers.end(), also.begin(), also.end());
    return encode(sign_trust(p_.root, signers));
  }
  // Nothing of a refused step remains.
  void refused_without_a_trace(const TrustSet& set, const std::string& part, const std::string& why) {
    const Bytes before = trust_.save();
    denied(accept(trust_, set), part, why);
    EXPECT_EQ(trust_.save(), before) << why;
  }

  Publisher p_;
  Trust trust_;
};

TEST_F(TrustTest, AReleaseOfTheCatalogueIsAllowedWhileItIsFresh) {
  const auto standing = trust_.standing(kTrustNow);
  EXPECT_EQ(standing.what, TrustStanding::kFresh);
  EXPECT_EQ(standing.until_ms, kTrustNow + kTrustDayMs) << "the timestamp is the first to expire";
  EXPECT_TRUE(trust_.check_release("camera", "1.0.0", "camera one"));
  EXPECT_TRUE(trust_.check_release("lidar-front", "1.0.0", "lidar one"));
}

TEST_F(TrustTest, ArbitraryInstall) {  // X2, X3
  struct Case {
    const char *why, *name, *version, *manifest, *part;
  };
  const Case cases[] = {
      {"a model no namespace speaks of", "radar", "1.0.0", "camera one", "no namespace of the root"},
      {"a version that was never signed", "camera", "2.0.0", "camera one", "withdrawn or never signed"},
      {"a model that only looks like one", "camera2", "1.0.0", "camera one", "no namespace of the root"},
      {"another content under a signed version", "camera", "1.0.0", "camera onf",
       "another content than the one that was signed"},
      {"another release's content", "lidar-front", "1.0.0", "camera one", "names one of 9"},
      {"nothing", "camera", "1.0.0", "", "0 bytes; the targets file names one of 10"}};
  for (const Case& c : cases) {
    const auto got = trust_.check_release(c.name, c.version, c.manifest);
    ASSERT_FALSE(got) << c.why;
    EXPECT_EQ(got.error().code, Code::kDenied) << c.why;
    EXPECT_NE(got.error().message.find(c.part), std::string::npos) << c.why << ": " << got.error().message;
  }

  p_.advance();
  const TrustKeys owner = p_.root.namespaces[0].signers;
  {  // the key of another namespace signs
    const Publisher good = p_;
    const SignedTrust c = sign_trust(p_.camera, {p_.lidar_key}), l = sign_trust(p_.lidar, {p_.lidar_key});
    p_.snapshot.targets = {{"camera", *trust_file_ref(c)}, {"lidar*", *trust_file_ref(l)}};
    refused_without_a_trace(p_.with_snapshot(sign_trust(p_.snapshot, {p_.snapshot_key}), {encode(c), encode(l)}),
                            "targets camera: targets: a signature is by key", "the key of another namespace");
    p_ = good;
  }
  {  // the key of a wide namespace signs for a model that has its own
    Trust trust = *Trust::anchor([&] {
      Publisher wide = p_;
      wide.root.namespaces = {{"*", trust_keys({p_.lidar_key}, 1)}, {"camera", owner}};
      return wide.signed_root();
    }());
    TrustTargetsFile all = p_.lidar;
    all.pattern = "*";
    all.releases = {Publisher::release("camera", "9.0.0", "planted")};
    const SignedTrust a = sign_trust(all, {p_.lidar_key});
    p_.snapshot.targets = {{"*", *trust_file_ref(a)}};
    denied(accept(trust, p_.with_snapshot(sign_trust(p_.snapshot, {p_.snapshot_key}), {encode(a)})),
           "belongs to 'camera' (arbitrary install)", "a wide namespace takes another's model");
  }
  {  // the snapshot's holder names a namespace that the root gives nobody, or one file under two names
    const SignedTrust l = sign_trust(p_.lidar, {p_.lidar_key});
    p_.snapshot.targets = {{"radar", *trust_file_ref(l)}};
    refused_without_a_trace(p_.with_snapshot(sign_trust(p_.snapshot, {p_.snapshot_key}), {encode(l)}),
                            "the root gives nobody this namespace", "a namespace of nobody's");
    const SignedTrust c = sign_trust(p_.lidar, {p_.camera_key});
    p_.snapshot.targets = {{"camera", *trust_file_ref(c)}};
    refused_without_a_trace(p_.with_snapshot(sign_trust(p_.snapshot, {p_.snapshot_key}), {encode(c)}),
                            "the file speaks of 'lidar*'", "the right key, of another namespace's file");
  }
}

TEST_F(TrustTest, Rollback) {  // X2
  const TrustSet old = p_.set();
  p_.advance();
  p_.camera.releases.clear();  // 1.0.0 is withdrawn
  const TrustSet now = p_.set();
  ASSERT_TRUE(accept(trust_, now));
  EXPECT_FALSE(trust_.check_release("camera", "1.0.0", "camera one"));
  refused_without_a_trace(old, "timestamp: version is 1; 2 was accepted before", "the whole old catalogue");

  struct Case {
    const char* why;
    std::function<void(Publisher&)> make;
    const char* part;
  };
  const Case cases[] = {
      {"a new timestamp of the old snapshot", [](Publisher& p) { p.snapshot.head.version = 1; },
       "snapshot: version is 1; 2 was accepted before"},
      {"a new snapshot of the old targets", [](Publisher& p) { p.camera.head.version = 1; },
       "targets camera: version is 1; 2 was accepted before"},
      {"a new snapshot without a namespace", [](Publisher&) {}, "no longer names 'camera'"},
      {"the same versions with another content",
       [](Publisher& p) { p.camera.releases = {Publisher::release("camera", "1.0.0", "camera one")}; },
       "targets camera: version 2 has another content"},
  };
  for (const Case& c : cases) {
    Publisher p = p_;
    ++p.timestamp.head.version;
    ++p.snapshot.head.version;
    c.make(p);
    TrustSet set = p.set();
    if (std::string(c.part).starts_with("no longer")) {
      p.snapshot.targets.erase(p.snapshot.targets.begin());
      set = p.with_snapshot(sign_trust(p.snapshot, {p.snapshot_key}), {set.targets[1]});
    }
    refused_without_a_trace(set, c.part, c.why);
  }
  {  // equivocation: what one gateway is told another is not
    Publisher p = p_;
    p.timestamp.head.made_ms += 1;
    refused_without_a_trace(p.set(), "timestamp: version 2 has another content", "two timestamps of one version");
    p = p_;
    ++p.timestamp.head.version;
    p.snapshot.head.made_ms += 1;
    refused_without_a_trace(p.set(), "snapshot: version 2 has another content", "two snapshots of one version");
  }
  EXPECT_TRUE(accept(trust_, now)) << "the same again changes nothing";

  // Only a newer signed file brings a withdrawn release back: that is the explicit rollback of X3.
  p_.advance();
  p_.camera.releases = {Publisher::release("camera", "1.0.0", "camera one")};
  ASSERT_TRUE(accept(trust_, p_.set()));
  EXPECT_TRUE(trust_.check_release("camera", "1.0.0", "camera one"));
}

TEST_F(TrustTest, Freeze) {  // X2, C4
  const std::uint64_t end = kTrustNow + kTrustDayMs;
  EXPECT_EQ(trust_.standing(end - 1).what, TrustStanding::kFresh);
  const auto late = trust_.standing(end);
  EXPECT_EQ(late.what, TrustStanding::kExpired);
  EXPECT_EQ(late.until_ms, end);
  EXPECT_EQ(late.why, "timestamp expired at " + wall_words(end) + ", and it is " + wall_words(end) +
                          "; newer files may be held back (freeze): push a newer timestamp");
  EXPECT_TRUE(trust_.check_release("camera", "1.0.0", "camera one")) << "flagged, not forgotten: the caller decides";

  // A clock set back does not undo what was seen; neither does a restart.
  EXPECT_TRUE(trust_.saw_time(end + 5));
  EXPECT_FALSE(trust_.saw_time(end + 6)) << "nothing new";
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kExpired);
  EXPECT_EQ(Trust::load(trust_.save())->standing(0).what, TrustStanding::kExpired);

  p_.advance();
  ASSERT_TRUE(accept(trust_, p_.set()));
  EXPECT_EQ(trust_.standing(end).what, TrustStanding::kFresh) << "a newer timestamp ends it";
}

TEST_F(TrustTest, TheClockOfTheGatewayIsWrong) {  // C4
  EXPECT_EQ(trust_.standing(0).what, TrustStanding::kFresh)
      << "1970: it was as late as the timestamp was made, at least";
  trust_.saw_time(kTrustWallMsMax);  // 9999, for a moment
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kExpired);
  p_.advance();
  ASSERT_TRUE(accept(trust_, p_.set()));
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kFresh)
      << "a jump ahead spoils one timestamp, not all that come";
  EXPECT_FALSE(Trust().saw_time(kTrustNow));
}

TEST_F(TrustTest, EveryFileThatExpiresIsNamed) {
  struct Case {
    const char* why;
    std::function<void(Publisher&)> spoil;
    const char* part;
  };
  const std::uint64_t soon = kTrustNow + kTrustDayMs / 4;
  const Case cases[] = {
      {"root", [&](Publisher& p) { p.root.head.expires_ms = soon; }, "root expired"},
      {"snapshot", [&](Publisher& p) { p.snapshot.head.expires_ms = soon; }, "push a newer snapshot"},
      {"one of the targets", [&](Publisher& p) { p.lidar.head.expires_ms = soon; }, "targets lidar* expired"}};
  for (const Case& c : cases) {
    Publisher p = p_;
    c.spoil(p);
    Trust trust = *Trust::anchor(p.signed_root());
    ASSERT_TRUE(accept(trust, p.set())) << c.why;
    EXPECT_EQ(trust.standing(soon - 1).what, TrustStanding::kFresh) << c.why;
    const auto standing = trust.standing(soon);
    EXPECT_EQ(standing.what, TrustStanding::kExpired) << c.why;
    EXPECT_NE(standing.why.find(c.part), std::string::npos) << c.why << ": " << standing.why;
  }
}

TEST_F(TrustTest, MixAndMatch) {  // X2
  p_.advance();
  const TrustSet a = p_.set();
  Publisher later = p_;
  later.advance();
  const TrustSet b = later.set();
  refused_without_a_trace({b.timestamp, a.snapshot, a.targets}, "mix-and-match", "an older snapshot");
  refused_without_a_trace({b.timestamp, b.snapshot, a.targets}, "mix-and-match", "targets of an older catalogue");
  refused_without_a_trace({b.timestamp, b.snapshot, {b.targets[0], a.targets[1]}}, "targets lidar*", "two catalogues");
  refused_without_a_trace({b.timestamp, b.snapshot, {b.targets[0]}}, "targets lidar*", "one is missing");
  refused_without_a_trace({b.timestamp, b.snapshot, {b.targets[0], b.targets[1], a.targets[1]}},
                          "1 of the files that were given are not named", "one too many");
  EXPECT_EQ(accept(trust_, {b.timestamp, b.snapshot, {b.targets[0], b.targets[0]}}).error().code, Code::kInvalid);

  // The digests are right and a version is not: a signer's mistake.
  Publisher p = later;
  const TrustSet set = p.set();
  p.timestamp.snapshot.version = 9;
  refused_without_a_trace({encode(sign_trust(p.timestamp, {p.timestamp_key})), set.snapshot, set.targets},
                          "snapshot: version is 3; the timestamp names 9", "the timestamp miscounts");
  p.snapshot.targets[0].targets.version = 9;
  refused_without_a_trace(p.with_snapshot(sign_trust(p.snapshot, {p.snapshot_key}), set.targets),
                          "targets camera: version is 3; the snapshot names 9", "the snapshot miscounts");
  EXPECT_TRUE(accept(trust_, b));
}

TEST_F(TrustTest, EndlessData) {  // X2
  p_.advance();
  const TrustSet set = p_.set();
  refused_without_a_trace({set.timestamp, set.snapshot + Bytes(1'000'000, 'x'), set.targets}, "(endless data)",
                          "a snapshot that goes on");
  const auto endless = accept(trust_, {set.timestamp + Bytes(1'000'000, 'x'), set.snapshot, set.targets});
  EXPECT_EQ(endless.error().code, Code::kCorrupt);
  EXPECT_NE(endless.error().message.find("at most 262144"), std::string::npos);
  EXPECT_EQ(accept(trust_, {set.timestamp, set.snapshot, {set.targets[0], Bytes(1'000'000, 'x')}}).error().code,
            Code::kCorrupt);
  EXPECT_EQ(accept(trust_, {set.timestamp, set.snapshot, std::vector<Bytes>(65, "x")}).error().code, Code::kInvalid);
  const auto manifest = trust_.check_release("camera", "1.0.0", Bytes("camera one") + Bytes(1'000'000, 'x'));
  ASSERT_FALSE(manifest);
  EXPECT_EQ(manifest.error().message,
            "manifest of camera 1.0.0: 1000010 bytes; the targets file names one of 10 (endless data)");
}

TEST_F(TrustTest, FastForwardIsUndoneByARotation) {  // X2
  // A stolen timestamp key signs the highest version there is: nothing that follows can be newer.
  p_.timestamp.head.version = ~0ull;
  ASSERT_TRUE(accept(trust_, p_.set()));
  Publisher honest = p_;
  honest.timestamp.head.version = 2;
  refused_without_a_trace(honest.set(), "(rollback)", "the honest one is locked out");

  const SigningKey fresh = Publisher::fresh_key();
  const auto floors = trust_.floors();
  ASSERT_TRUE(trust_.accept_root(next_root([&](TrustRootFile& r) { r.timestamp = trust_keys({fresh}, 1, 2); })));
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kNoCatalogue) << "what the thief signed went with the key";
  EXPECT_GT(trust_.floors().at("timestamp"), floors.at("timestamp")) << "the floor rose: rotations come first in it";
  p_.timestamp.head.version = 1;
  p_.timestamp.since_root = 2;
  p_.timestamp_key = fresh;
  ASSERT_TRUE(accept(trust_, p_.set())) << "versions begin anew";
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kFresh);

  // The thief's key, its old files, and its new ones under the new rotation are all worth nothing.
  honest.timestamp.head.version = 2;
  refused_without_a_trace(honest.set(), "which the root does not give this role", "the old key");
  honest.timestamp_key = fresh;
  refused_without_a_trace(honest.set(), "since_root is 1; the root says 2", "a file of before the rotation");
}

TEST_F(TrustTest, AKeyThatComesBackDoesNotBringItsOldFilesBack) {  // X2
  const TrustSet old = p_.set();
  p_.advance();
  p_.camera.releases.clear();
  ASSERT_TRUE(accept(trust_, p_.set()));
  const TrustKeys first = p_.root.timestamp;
  const SigningKey fresh = Publisher::fresh_key();
  ASSERT_TRUE(trust_.accept_root(next_root([&](TrustRootFile& r) { r.timestamp = trust_keys({fresh}, 1, 2); })));
  ASSERT_TRUE(trust_.accept_root(next_root([&](TrustRootFile& r) {
    r.timestamp = first;
    r.timestamp.since_root = 3;
  })));
  refused_without_a_trace(old, "since_root is 1; the root says 3", "the catalogue from before both rotations");
}

TEST_F(TrustTest, ANamespaceThatGoesAndComesBackBeginsAnew) {
  const TrustSet old = p_.set();
  p_.advance();
  ASSERT_TRUE(accept(trust_, p_.set()));
  const TrustNamespace camera = p_.root.namespaces[0];
  ASSERT_TRUE(trust_.accept_root(next_root([&](TrustRootFile& r) { r.namespaces.erase(r.namespaces.begin()); })));
  EXPECT_FALSE(trust_.check_release("camera", "1.0.0", "camera one"));
  EXPECT_FALSE(trust_.floors().contains("targets camera"));
  const Bytes back = next_root([&](TrustRootFile& r) { r.namespaces.insert(r.namespaces.begin(), camera); });
  denied(trust_.accept_root(back), "since_root of the new namespace 'camera' is 1; it must be 3",
         "it may not claim to be the old one");
  p_.root.namespaces[0].signers.since_root = 3;
  ASSERT_TRUE(trust_.accept_root(p_.signed_root()));
  refused_without_a_trace(old, "(rollback)", "the timestamp's floor is still there");
}

TEST_F(TrustTest, RootsFollowOneAnother) {  // X2
  const Bytes first = p_.signed_root();
  EXPECT_TRUE(trust_.accept_root(first)) << "the one that is held";
  const auto nothing = [](TrustRootFile&) {};
  const TrustRootFile start = p_.root;
  const Bytes second = next_root(nothing), third = next_root(nothing);
  const auto gap = trust_.accept_root(third);
  ASSERT_FALSE(gap);
  EXPECT_EQ(gap.error().code, Code::kConflict);
  EXPECT_NE(gap.error().message.find("after the trusted 1 comes 2"), std::string::npos);
  const Bytes catalogue = encode(sign_trust(p_.camera, {p_.camera_key}));
  ASSERT_TRUE(trust_.accept_root(second));
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kFresh) << "no key changed: the catalogue stays";
  ASSERT_TRUE(trust_.accept_root(third));
  denied(trust_.accept_root(second), "version is 2; 3 is trusted already", "an older root");
  denied(trust_.accept_root(catalogue), "the file is a targets file", "a file of another role");

  p_.root.note = "another";
  denied(trust_.accept_root(p_.signed_root()), "version 3 has another content", "two roots of one version");

  struct Case {
    const char* why;
    std::function<void(TrustRootFile&)> change;
    const char* part;
  };
  const SigningKey fresh = Publisher::fresh_key();
  const Case cases[] = {
      {"another publisher's", [](TrustRootFile& r) { r.head.domain = "village"; }, "domain is 'village'"},
      {"a key goes and its files stay", [&](TrustRootFile& r) { r.snapshot = trust_keys({fresh}, 1, 1); },
       "a key is taken from snapshot"},
      {"a rotation that never was", [&](TrustRootFile& r) { r.timestamp = trust_keys({fresh}, 1, 2); },
       "since_root of timestamp is 2; it must be 4, this root's version, or stay 1"},
      {"a new namespace that claims to be old", [&](TrustRootFile& r) { r.namespaces[0].pattern = "camerb"; },
       "since_root of the new namespace 'camerb' is 1"},
      {"a root key goes and its files stay",
       [&](TrustRootFile& r) { r.root = trust_keys({p_.root_keys[0], p_.root_keys[1]}, 2, 1); },
       "a key is taken from root"}};
  for (const Case& c : cases) {
    p_.root = start;
    p_.root.head.version = 4;
    c.change(p_.root);
    const Bytes before = trust_.save();
    denied(trust_.accept_root(p_.signed_root()), c.part, c.why);
    EXPECT_EQ(trust_.save(), before) << c.why;
  }
  EXPECT_EQ(Trust().accept_root(first).error().code, Code::kInvalid) << "nobody vouched for a first one";
  EXPECT_EQ(accept(*std::make_unique<Trust>(), p_.set()).error().code, Code::kInvalid);
}

TEST_F(TrustTest, ARootIsSignedByBothGenerations) {  // X2
  const std::vector<SigningKey> next{Publisher::fresh_key(), Publisher::fresh_key(), Publisher::fresh_key()};
  ++p_.root.head.version;
  p_.root.root = trust_keys(next, 2, 2);
  struct Case {
    const char* why;
    std::vector<SigningKey> signers;
    const char* part;  // null: it holds
  };
  const auto& old = p_.root_keys;
  const Case cases[] = {
      {"nobody", {}, "signed by 0 of 2"},
      {"one of the old", {old[0], next[0], next[1]}, "signed by 1 of 2"},
      {"one of the new", {old[0], old[1], next[2]}, "signed by 1 of 2"},
      {"the old alone", {old[0], old[1]}, "signed by 0 of 2"},
      {"the new alone", {next[0], next[1]}, "signed by 0 of 2"},
      {"a stranger too", {old[0], old[1], next[0], next[1], p_.camera_key}, "which the root does not"},
      {"two of each", {old[0], old[2], next[1], next[2]}, nullptr}};
  for (const Case& c : cases) {
    const auto done = trust_.accept_root(encode(sign_trust(p_.root, c.signers)));
    if (c.part == nullptr)
      EXPECT_TRUE(done) << c.why;
    else
      denied(done, c.part, c.why);
  }
  const auto kept = Trust::load(trust_.save());
  ASSERT_TRUE(kept) << kept.error().message;
  EXPECT_EQ(kept->root()->head.version, 2u);
}

TEST_F(TrustTest, AWiderRootEndsACatalogueThatItWouldNotTake) {
  // `lidar-front` gets signers of its own: what `lidar*` says of it no longer counts, nor does it after a restart.
  const SigningKey fresh = Publisher::fresh_key();
  ASSERT_TRUE(trust_.accept_root(next_root([&](TrustRootFile& r) {
    r.namespaces.insert(r.namespaces.begin() + 1, TrustNamespace{"lidar-front", trust_keys({fresh}, 1, 2)});
    std::sort(r.namespaces.begin(), r.namespaces.end(),
              [](const auto& a, const auto& b) { return a.pattern < b.pattern; });
  })));
  EXPECT_EQ(trust_.standing(kTrustNow).what, TrustStanding::kNoCatalogue);
  EXPECT_FALSE(trust_.check_release("lidar-front", "1.0.0", "lidar one"));
  EXPECT_TRUE(Trust::load(trust_.save()));
}

TEST_F(TrustTest, ARestartBelievesWhatItCanCheckAgain) {  // X3
  const Bytes saved = trust_.save();
  const auto back = Trust::load(saved);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(back->save(), saved);
  EXPECT_EQ(back->floors(), trust_.floors());
  EXPECT_TRUE(back->check_release("camera", "1.0.0", "camera one"));
  const TrustSet set = p_.set();
  EXPECT_EQ(*Trust::files_in(saved), (TrustFiles{p_.signed_root(), set.timestamp, set.snapshot, set.targets}));
  EXPECT_FALSE(Trust::files_in("no trust"));
  EXPECT_FALSE(Trust::load(Trust().save())->is_set());
  EXPECT_EQ(trust_standing_name(Trust().standing(0).what), "unset");
  EXPECT_FALSE(Trust().check_release("camera", "1.0.0", "camera one"));
  for (std::size_t size = 0; size < saved.size(); size += 7) {
    EXPECT_FALSE(Trust::load(BytesView(saved).substr(0, size))) << size;
  }
  Trust alone = *Trust::anchor(p_.signed_root());
  EXPECT_EQ(Trust::load(alone.save())->standing(kTrustNow).what, TrustStanding::kNoCatalogue);
  EXPECT_FALSE(Trust::load(Bytes(30'000'000, 'x')));
}

TEST_F(TrustTest, EveryFlippedBitOfEverySignedFileIsRefused) {  // X2
  p_.advance();
  const TrustSet good = p_.set();
  const auto each_flip = [](const Bytes& whole, const std::function<void(const Bytes&, std::size_t)>& look) {
    for (std::size_t bit = 0; bit < whole.size() * 8; ++bit) {
      Bytes flipped = whole;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      look(flipped, bit);
    }
  };
  const Bytes before = trust_.save();
  each_flip(good.timestamp, [&](const Bytes& bad, std::size_t bit) {
    EXPECT_FALSE(accept(trust_, {bad, good.snapshot, good.targets})) << "timestamp, bit " << bit;
  });
  each_flip(good.snapshot, [&](const Bytes& bad, std::size_t bit) {
    EXPECT_FALSE(accept(trust_, {good.timestamp, bad, good.targets})) << "snapshot, bit " << bit;
    // Even with the key of the timestamp: the snapshot's own signature is in the way.
    if (bit % 16 != 0) return;
    p_.timestamp.snapshot = {2, bad.size(), sha256(bad)};
    const Bytes stamp = encode(sign_trust(p_.timestamp, {p_.timestamp_key}));
    EXPECT_FALSE(accept(trust_, {stamp, bad, good.targets})) << "snapshot, signed above, bit " << bit;
  });
  each_flip(good.targets[0], [&](const Bytes& bad, std::size_t bit) {
    EXPECT_FALSE(accept(trust_, {good.timestamp, good.snapshot, {bad, good.targets[1]}})) << "targets, bit " << bit;
  });
  each_flip(next_root([](TrustRootFile&) {}), [&](const Bytes& bad, std::size_t bit) {
    EXPECT_FALSE(trust_.accept_root(bad)) << "root, bit " << bit;
    EXPECT_FALSE(Trust::anchor(bad)) << "root as an anchor, bit " << bit;
  });
  EXPECT_EQ(trust_.save(), before);
  EXPECT_TRUE(accept(trust_, good));
}

// All that a publisher ever signed, played to a gateway in any order and mixture: floors never go down, the standing is
// never better than the newest timestamp allows, and what is kept can always be read again.
TEST(TrustOrder, NoOrderOfUpdatesEverLowersAFloor) {
  Publisher p;
  std::vector<Bytes> roots{p.signed_root()};
  std::vector<TrustSet> sets;
  std::vector<SigningKey> timestamp_keys{p.timestamp_key};
  for (int step = 0; step < 12; ++step) {
    sets.push_back(p.set());
    p.advance(kTrustDayMs / 8);
    if (step % 3 != 2) continue;
    ++p.root.head.version;
    const std::uint64_t version = p.root.head.version;
    if (step % 2 == 0) {  // the timestamp's key goes, its versions begin anew
      p.timestamp_key = Publisher::fresh_key();
      p.root.timestamp = trust_keys({p.timestamp_key}, 1, version);
      p.timestamp.since_root = version;
      p.timestamp.head.version = 1;
    } else {  // the camera's
      p.camera_key = Publisher::fresh_key();
      p.root.namespaces[0].signers = trust_keys({p.camera_key}, 1, version);
      p.camera.since_root = version;
      p.camera.head.version = 1;
    }
    roots.push_back(p.signed_root());
  }
  sets.push_back(p.set());

  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    Rng rng(seed);
    Trust trust = *Trust::anchor(roots[0]);
    int accepted = 0;
    for (int step = 0; step < 40; ++step) {
      const auto before = trust.floors();
      const auto pick = [&]() -> const TrustSet& { return sets[rng.below(sets.size())]; };
      const std::uint64_t what = rng.below(10);
      if (what < 3) {
        (void)trust.accept_root(roots[rng.below(roots.size())]);
      } else if (what < 8) {
        accepted += accept(trust, pick()).has_value();
      } else if (what == 8) {
        const TrustSet &a = pick(), &b = pick(), &c = pick();
        (void)accept(trust, {a.timestamp, b.snapshot, c.targets});
      } else {
        trust.saw_time(kTrustNow + rng.below(4 * kTrustDayMs));
        auto back = Trust::load(trust.save());
        ASSERT_TRUE(back) << "seed " << seed << ": " << back.error().message;
        ASSERT_EQ(back->floors(), trust.floors()) << "seed " << seed;
        trust = std::move(*back);
      }
      for (const auto& [role, floor] : before) {
        ASSERT_GE(trust.floors().at(role), floor) << role << ", seed " << seed << ", step " << step;
      }
      if (trust.timestamp() != nullptr) {
        ASSERT_EQ(trust.floors().at("timestamp").value, trust.timestamp()->head.version) << "seed " << seed;
        ASSERT_EQ(trust.standing(trust.timestamp()->head.expires_ms).what, TrustStanding::kExpired) << "seed " << seed;
      }
    }
    EXPECT_GT(accepted, 0) << "seed " << seed;
  }
}

}  // namespace
}  // namespace tidelock
