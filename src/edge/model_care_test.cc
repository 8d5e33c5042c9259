// Files and manifests of a gateway that go bad, cannot be read or find no room, and what an operator has done with
// them.
#include <gtest/gtest.h>

#include "edge/model_keeper_fixture.h"

namespace tidelock {
namespace {

TEST_F(ModelCareTest, AFileThatGoesBadInUseIsFoundAndFetchedAgain) {  // X3
  config_.models.rehash_bytes_per_s = 1u << 30;
  start();
  bring("1.0.0");
  change([&] { reports_.clear(); });
  flip_a_bit("1.0.0");
  ASSERT_TRUE(wait([&] { return reports_.size() >= 2; }));
  EXPECT_EQ(reports_[0].model.version, "1.0.0");
  EXPECT_EQ(reports_[0].error, "model.onnx was damaged on disk; it is fetched again");
  EXPECT_EQ(reports_[1].error, "") << "and is verified again";
  EXPECT_EQ(model_in("1.0.0"), small_model());
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  EXPECT_TRUE(fs::exists(config_.data_dir + "/models/blobs/quarantine/" + to_hex(sha256(small_model()))));
  const std::string metrics = metrics_.expose();
  EXPECT_NE(metrics.find("tidelock_edge_model_files_damaged_total 1"), std::string::npos) << metrics;
}

TEST_F(ModelCareTest, WhileItCannotBeFetchedNobodyLoadsIt) {  // X3, M4
  config_.models.rehash_bytes_per_s = 1u << 30;
  start();
  bring("1.0.0");
  hub_.have_files(false);
  flip_a_bit("1.0.0");
  ASSERT_TRUE(wait([&] { return said("1.0.0", "this hub holds no such file"); }));
  EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  expect(keeper_->json(), "\"verified\":[],\"damaged\":[\"1.0.0\"]");
  EXPECT_FALSE(keeper_->figures().at(0).in_force) << "a rollout's gate sees it";
  hub_.have_files();
  keeper_->on_session("hub-1", key().public_pem);
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  expect(care(StoreWork::kVerify), "\"sound\":true");  // its turn on the keeper's thread comes after what is shown
  expect(keeper_->json(), "\"verified\":[\"1.0.0\"],\"damaged\":[]");
}

TEST_F(ModelCareTest, ARepairBringsBackWhatNoPointerNamesToo) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  bring("2.0.0", "1.0.0");
  expect(care(StoreWork::kVerify), "\"releases\":2,\"repaired\":0,\"sound\":true,\"ok\":2,");
  flip_a_bit("1.0.0");  // one file with that of 2.0.0
  expect(care(StoreWork::kVerify), "\"sound\":false,\"ok\":0,\"missing\":0,\"corrupt\":2,");
  hub_.have_files(false);
  const std::string not_yet = care(StoreWork::kRepair);
  expect(not_yet, "\"repaired\":0,\"sound\":false,\"ok\":0,\"missing\":2,\"corrupt\":0,");
  expect(not_yet, "this hub holds no such file");
  hub_.have_files();
  const std::string done = care(StoreWork::kRepair);
  expect(done, "\"repaired\":2,\"sound\":true,\"ok\":2,");
  ASSERT_TRUE(wait([&] { return said("1.0.0", "") && said("2.0.0", ""); }));
  for (const char* version : {"1.0.0", "2.0.0"}) {
    EXPECT_EQ(model_in(version), small_model()) << version;
    EXPECT_TRUE(fs::exists(room(version) + "/" + kVerifiedMark)) << version;
  }
}

TEST_F(ModelCareTest, WhatWentBadWhileNobodyLookedComesBackAfterTheNextStart) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  bring("2.0.0", "1.0.0");
  keeper_.reset();
  flip_a_bit("1.0.0");  // one file with that of 2.0.0
  change([&] { reports_.clear(); });
  start();
  ASSERT_TRUE(wait([&] { return said("1.0.0", "it is fetched again: ") && said("2.0.0", "it is fetched again: "); }));
  for (const char* version : {"1.0.0", "2.0.0"}) {
    EXPECT_FALSE(fs::exists(room(version) + "/" + kVerifiedMark)) << version;
    EXPECT_TRUE(fs::exists(room(version) + "/tidelock.manifest")) << version << ": it knows what it needs";
  }
  // No pointer has come yet, and none ever names 1.0.0: its own manifest does.
  keeper_->on_session("hub-1", key().public_pem);
  ASSERT_TRUE(wait([&] { return said("1.0.0", "") && said("2.0.0", ""); }));
  for (const char* version : {"1.0.0", "2.0.0"}) EXPECT_EQ(model_in(version), small_model()) << version;
}

// A disk that does not answer, or not to us: what is there may be all right, so it stays, and is not used meanwhile.
TEST_F(ModelCareTest, WhatCannotBeReadAtTheStartIsLeftAndToldAndNotUsed) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  keeper_.reset();
  hub_.have_files(false);  // nothing is fetched in what follows
  const std::string blob = config_.data_dir + "/models/blobs/blobs/" + to_hex(sha256(small_model())).substr(0, 2) +
                           "/" + to_hex(sha256(small_model()));
  struct Case {
    const char* why;
    std::string path, target;  // of the link that takes its place
    bool restarts;             // else it looks again by itself
  };
  const std::string away = home_ + "/away", linked = room("1.0.0") + "/model.onnx";
  const Case cases[] = {{"its manifest", room("1.0.0") + "/tidelock.manifest", away, false},
                        {"a file, for the store", blob, away, false},
                        {"a file, for the engine, which follows links", linked, linked, false},
                        {"a file, until the next start", blob, away, true}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    change([&] { reports_.clear(); });
    opened_ = [&] {  // a link is what no reader of ours opens, whoever it runs as
      fs::rename(c.path, away);
      fs::create_symlink(c.target, c.path);
    };
    start();
    ASSERT_TRUE(wait([&] { return said("1.0.0", "it is not used until it can be read: "); }));
    EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
    EXPECT_TRUE(fs::is_symlink(c.path)) << "it is where it was";
    EXPECT_TRUE(fs::exists(room("1.0.0") + "/tidelock.manifest"));
    EXPECT_TRUE(fs::is_empty(config_.data_dir + "/models/blobs/quarantine"));
    expect(*files::read_all(config_.data_dir + "/models/blobs/pins/tidelock.verified", 1 << 20),
           to_hex(sha256(small_model())));  // M8: whatever else comes
    if (c.restarts) keeper_.reset();
    fs::rename(away, c.path);
    opened_ = {};
    if (c.restarts) start();
    clock_.ahead += 61 * kSecond;
    keeper_->on_recalled({});  // it looks at the clock
    ASSERT_TRUE(wait([&] { return said("1.0.0", ""); })) << "it was all right, and needs no hub";
    EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
    keeper_.reset();
  }
}

// Nor does it get its mark back for what was not read: not even by a pointer that names it.
TEST_F(ModelCareTest, AVersionWithAFileThatWasNotReadIsNotVerified) {  // X3, M4
  config_.models.rehash_bytes_per_s = 0;
  Manifest manifest = manifest_of("1.0.0");
  const Bytes labels = "labels";
  manifest.files.push_back({"labels.txt", FileRole::kOther, labels.size(), sha256(labels)});
  const Bytes release = encode(*sign_manifest(manifest, key().private_pem));
  {
    const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
    const auto layout = ModelLayout::open(config_.data_dir + "/models/room");
    ASSERT_TRUE(blobs && layout && (*blobs)->put(small_model()) && (*blobs)->put(labels));
    ASSERT_TRUE((*layout)->place(release, manifest, **blobs));
  }
  KvBatch batch;
  batch.put(kMetaFamily, "model_key", key().public_pem);
  ASSERT_TRUE(kv_->commit(batch, Sync::kNone));
  hub_.hold(model_version_key("detector", "1.0.0"), release);
  const std::string hex = to_hex(sha256(labels)),
                    blob = config_.data_dir + "/models/blobs/blobs/" + hex.substr(0, 2) + "/" + hex;
  opened_ = [&] {
    fs::rename(blob, home_ + "/away");
    fs::create_symlink(home_ + "/away", blob);
  };
  start();
  const auto session = [&] {
    keeper_->on_session("hub-1", key().public_pem);
    keeper_->on_strong_changed(model_current_key("detector"), encode(ModelPointer{"1.0.0", sha256(release), ""}),
                               Index{++index_});
  };
  session();
  ASSERT_TRUE(wait([&] { return said("1.0.0", "it is not used until it can be read: "); }));
  expect(care(StoreWork::kVerify), "\"unread\":1,");  // its turn comes after the pointer's
  expect(care(StoreWork::kVerify), "\"unread\":1,");
  EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  fs::rename(home_ + "/away", blob);
  session();
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); })) << "and no hub had to give it";
}

// What was not hashed at the start, because its manifest could not be read, is hashed before it is used again.
TEST_F(ModelCareTest, AVersionWhoseManifestWasNotReadIsNotUsedUnhashed) {  // X3, M4
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  keeper_.reset();
  flip_a_bit("1.0.0");
  const std::string manifest = room("1.0.0") + "/tidelock.manifest", away = home_ + "/away";
  opened_ = [&] {
    fs::rename(manifest, away);
    fs::create_symlink(away, manifest);
  };
  start();
  ASSERT_TRUE(wait([&] { return said("1.0.0", "it is not used until it can be read: "); }));
  hub_.have_files(false);
  keeper_->on_session("hub-1", key().public_pem);
  (void)care(StoreWork::kVerify);  // its turn comes after the session's
  expect(care(StoreWork::kVerify), "\"releases\":1,");
  keeper_->on_strong_changed(model_current_key("detector"),
                             encode(ModelPointer{"1.0.0", sha256(published("1.0.0")), ""}), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("1.0.0", "this hub holds no such file"); })) << "the damaged one is none";
  EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  bring("1.0.0");
  EXPECT_EQ(model_in("1.0.0"), small_model());
}

// Nor is one that the trust files did not allow at the start, and allow later.
TEST_F(ModelCareTest, AVersionThatWasNotAllowedAtTheStartIsNotUsedUnhashed) {  // X2, X3, M4
  config_.models.rehash_bytes_per_s = 0;
  Publisher p = publisher(wall_ms_now());
  start();
  allow(p, {"1.0.0"});
  bring("1.0.0");
  allow(p, {"2.0.0"});
  ASSERT_TRUE(wait([&] { return said("1.0.0", "withdrawn or never signed"); }));
  keeper_.reset();
  flip_a_bit("1.0.0");
  change([&] { reports_.clear(); });
  hub_.have_files(false);
  start();
  allow(p, {"1.0.0"});
  keeper_->on_session("hub-1", key().public_pem);
  keeper_->on_strong_changed(model_current_key("detector"),
                             encode(ModelPointer{"1.0.0", sha256(published("1.0.0")), ""}), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("1.0.0", "this hub holds no such file"); })) << "the damaged one is none";
  EXPECT_FALSE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  bring("1.0.0");
  EXPECT_EQ(model_in("1.0.0"), small_model());
}

// One that no pointer names comes back by its own manifest, as soon as that can be read.
TEST_F(ModelCareTest, AVersionWhoseManifestWasNotReadIsNotForgotten) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  keeper_.reset();
  const std::string manifest = room("1.0.0") + "/tidelock.manifest", away = home_ + "/away";
  opened_ = [&] {
    fs::rename(manifest, away);
    fs::create_symlink(away, manifest);
  };
  start();
  ASSERT_TRUE(wait([&] { return said("1.0.0", "it is not used until it can be read: "); }));
  keeper_->on_session("hub-1", key().public_pem);
  (void)care(StoreWork::kVerify);  // its turn comes after the session's
  (void)care(StoreWork::kVerify);
  fs::rename(away, manifest);
  keeper_->on_session("hub-1", key().public_pem);
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
}

// Whatever is looked at again and again until all of it can be read: what passed is not read each time.
TEST_F(ModelCareTest, AFileThatPassedIsNotHashedAgain) {  // X3
  const auto room = ModelRoom::open(config_.data_dir, 0);
  ASSERT_TRUE(room) << room.error().message;
  const Bytes digest = *(*room)->blobs().put("bytes");
  int pieces = 0;
  const auto check = [&](bool go_on) {
    return (*room)->check_file(digest, false, [&](std::uint64_t) {
      ++pieces;
      return go_on;
    });
  };
  EXPECT_EQ(check(false).error().code, Code::kUnavailable);
  EXPECT_TRUE(check(true));
  EXPECT_EQ(pieces, 2) << "one that was ended has not passed";
  EXPECT_TRUE(check(false));
  EXPECT_EQ(pieces, 2);
  (*room)->distrust(digest);
  EXPECT_TRUE(check(true));
  EXPECT_EQ(pieces, 3);
}

TEST_F(ModelCareTest, ADamagedManifestIsBroughtBackByItsPointer) {  // X3
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  ASSERT_TRUE(files::replace(room("1.0.0") + "/tidelock.manifest", "torn"));
  expect(care(StoreWork::kVerify), "\"corrupt\":1,\"unread\":0,\"unreferenced\":1,");
  expect(care(StoreWork::kCollect, true), "which files it needs is not known: repair it first");
  expect(care(StoreWork::kRepair), "\"repaired\":1,\"sound\":true,");
  EXPECT_EQ(*files::read_all(room("1.0.0") + "/tidelock.manifest", 1 << 20), published("1.0.0"));
}

// A repair that reads no more than the check did has mended nothing, and says so.
TEST_F(ModelCareTest, AManifestThatCannotBeReadIsNotCalledRepaired) {  // X3, M8
  config_.models.rehash_bytes_per_s = 0;
  start();
  bring("1.0.0");
  const std::string manifest = room("1.0.0") + "/tidelock.manifest", away = home_ + "/away";
  fs::rename(manifest, away);
  fs::create_symlink(away, manifest);
  const std::string repair = care(StoreWork::kRepair);
  expect(repair, "\"repaired\":0,\"sound\":false,");
  expect(repair, "Too many levels of symbolic links");
  EXPECT_TRUE(fs::is_symlink(manifest));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark)) << "it was not found wrong, and is in use";
  fs::rename(away, manifest);
  expect(care(StoreWork::kVerify), "\"sound\":true,");
}

TEST_F(ModelCareTest, CollectsStraysAndNothingThatIsInUse) {  // M8
  {
    const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
    ASSERT_TRUE(blobs && (*blobs)->put("a stray"));
    ASSERT_TRUE((*(*blobs)->put_stream(sha256("given up"), 100))->write("half"));
  }
  start();
  bring("1.0.0");
  expect(care(StoreWork::kCollect, true), "\"garbage\":2,\"garbage_bytes\":11,");
  expect(care(StoreWork::kCollect), "\"garbage\":2,");
  expect(care(StoreWork::kCollect), "\"garbage\":0,");
  expect(care(StoreWork::kVerify), "\"sound\":true,\"ok\":1,");
}

TEST_F(ModelCareTest, WithoutASessionThereIsNoKeyToCheckWith) {
  start();
  expect(care(StoreWork::kVerify), "\"error\":{\"code\":\"unavailable\",\"message\":\"this edge has had no session");
}

TEST_F(ModelCareTest, AFullFlashQuotaIsSaidAndTheLastVerifiedVersionStays) {  // M8
  config_.models.quota_bytes = small_model().size() * 2 + 10;
  start();
  bring("1.0.0");
  Manifest larger = manifest_of("2.0.0");
  larger.files.push_back({"weights.bin", FileRole::kOther, small_model().size(), sha256("never here")});
  const Bytes signed_larger = encode(*sign_manifest(larger, key().private_pem));
  hub_.hold(model_version_key("detector", "2.0.0"), signed_larger);
  keeper_->on_strong_changed(model_current_key("detector"),
                             encode(ModelPointer{"2.0.0", sha256(signed_larger), "1.0.0"}), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("2.0.0", "models.quota_mib = 0: detector 2.0.0 needs"); }));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark)) << "in force no more, and the last that was verified";
  expect(care(StoreWork::kVerify), "\"sound\":true,\"ok\":1,");
}

TEST_F(ModelCareTest, TheVersionBeforeGivesWayToANewOneUnderAQuota) {  // M8
  const Bytes models[] = {small_model("one"), small_model("two"), small_model("thr")};
  const std::string versions[] = {"1.0.0", "2.0.0", "3.0.0"};
  config_.models.quota_bytes = 3 * models[0].size();  // two, and what the next one may need on its way
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(models[i].size(), models[0].size());
    hub_.have_file(models[i]);
    hub_.hold(model_version_key("detector", versions[i]), published(versions[i], models[i]));
  }
  const auto pointer = [&](int i, const std::string& previous = {}) {
    return ModelPointer{versions[i], sha256(published(versions[i], models[i])), previous};
  };
  start();
  keeper_->on_session("hub-1", key().public_pem);
  keeper_->on_strong_changed(model_current_key("detector"), encode(pointer(0)), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  keeper_->on_strong_changed(model_ring_key("detector"), encode(RingPointer{pointer(0), {}}), Index{++index_});
  keeper_->on_strong_changed(model_current_key("detector"), encode(pointer(1, "1.0.0")), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("2.0.0", ""); }));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  keeper_->on_strong_changed(model_staged_key("detector"), encode(pointer(2)), Index{++index_});
  ASSERT_TRUE(wait([&] { return said("3.0.0", ""); }));
  EXPECT_TRUE(said("1.0.0", "removed: models.quota_mib has no room for it"));
  EXPECT_FALSE(fs::exists(room("1.0.0")));
  for (const char* version : {"2.0.0", "3.0.0"})
    EXPECT_TRUE(fs::exists(room(version) + "/" + kVerifiedMark)) << version;
  expect(care(StoreWork::kVerify), "\"releases\":2,\"repaired\":0,\"sound\":true,\"ok\":2,");
}

}  // namespace
}  // namespace tidelock
