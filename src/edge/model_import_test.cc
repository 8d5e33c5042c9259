// A bundle on a stick at a gateway (M2): what it spares the link, what a stranger's is worth, and how long it is kept.
#include <gtest/gtest.h>

#include "edge/model_keeper_fixture.h"
#include "store/bundle/bundle.h"

namespace tidelock {
namespace {

class ModelImportTest : public ModelCareTest {
 protected:
  // A bundle whose manifest says what `manifest` says, signed by `by`, and whose members are `files`, of the lengths
  // that `members` gives.
  std::string pack(const std::string& name, const Manifest& manifest, const std::vector<Bytes>& files,
                   const SigningKey& by = key(), const Manifest* members = nullptr) {
    std::string path = home_ + "/" + name;
    const Manifest& written = members == nullptr ? manifest : *members;
    const auto bundle = BundleWriter::create(path, encode(*sign_manifest(manifest, by.private_pem)), written);
    EXPECT_TRUE(bundle) << bundle.error().message;
    for (std::size_t i = 0; i < files.size(); ++i)
      EXPECT_TRUE((*bundle)->begin(written.files[i]) && (*bundle)->write(files[i]));
    EXPECT_TRUE((*bundle)->finish());
    return path;
  }
  std::string stick(const std::string& version, const Bytes& model = small_model()) {
    return pack("detector-" + version + ".zip", manifest_of(version, model), {model});
  }
  std::string import(const std::string& path) {
    const auto begun = keeper_->care().start(StoreWork::kImport, false, path);
    EXPECT_TRUE(begun) << begun.error().message;
    return keeper_->care().wait(20'000) ? keeper_->care().json() : "hangs";
  }
  // The hub has its manifest, and none of its files.
  void published_at_hub(const std::string& version, const Bytes& model = small_model()) {
    hub_.hold(model_version_key("detector", version), published(version, model));
  }
  void session() { keeper_->on_session("hub-1", key().public_pem); }
  void name(const std::string& pointer, const std::string& version, const Bytes& model = small_model()) {
    keeper_->on_strong_changed(pointer, encode(ModelPointer{version, sha256(published(version, model)), ""}),
                               Index{++index_});
  }
  std::uint64_t from_hubs() {
    return metrics_.counter("tidelock_edge_model_bytes_total", "Bytes of model files fetched from hubs.").value();
  }
  std::size_t kept() const {  // versions
    const fs::directory_iterator all(config_.data_dir + "/models/imported");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
  }
  bool here(const Bytes& file) const {
    const std::string hex = to_hex(sha256(file));
    return fs::exists(config_.data_dir + "/models/blobs/blobs/" + hex.substr(0, 2) + "/" + hex);
  }
  bool part_is_here() const { return !fs::is_empty(config_.data_dir + "/models/blobs/partial"); }
};

TEST_F(ModelImportTest, StagingWhatAStickBroughtCostsTheLinkNoFileBytes) {  // M2, M3
  published_at_hub("1.0.0");
  start();
  session();
  const std::string size = std::to_string(small_model().size());
  expect(import(stick("1.0.0")), "\"imported\":{\"model\":\"detector\",\"version\":\"1.0.0\",\"files\":1,\"bytes\":" +
                                     size + ",\"new_bytes\":" + size + ",\"named\":false,\"verified\":false}");
  EXPECT_FALSE(fs::exists(room("1.0.0"))) << "it proves nothing by itself (M4)";
  EXPECT_TRUE(reports_.empty());
  expect(care(StoreWork::kVerify), "\"releases\":1,\"repaired\":0,\"sound\":true,\"ok\":1,");
  expect(care(StoreWork::kCollect), "\"garbage\":0,");
  EXPECT_TRUE(here(small_model())) << "pinned (M8)";
  name(model_staged_key("detector"), "1.0.0");
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  EXPECT_EQ(model_in("1.0.0"), small_model());
  expect(import(stick("1.0.0-again")), "\"named\":false");  // its turn comes after the pointer's
  EXPECT_EQ(kept(), 1u) << "1.0.0 is kept by its pointer now";
  EXPECT_EQ(from_hubs(), 0u);
  expect(import(home_ + "/detector-1.0.0.zip"), "\"new_bytes\":0,\"named\":true,\"verified\":true}");
}

TEST_F(ModelImportTest, ABundleThatIsNotRightLeavesNothing) {  // M2, M4, X2
  config_.models.quota_bytes = 100'000;
  const SigningKey other = *make_signing_key();
  Manifest two = manifest_of("1.0.0");
  const Bytes labels = "cat\ndog\n";
  two.files.push_back({"labels.txt", FileRole::kLabels, labels.size(), sha256(labels)});
  Manifest longer = two;
  ++longer.files[1].size_bytes;
  Manifest large = two;
  large.files[1] = {"labels.txt", FileRole::kLabels, 100'000, sha256(Bytes(100'000, 'x'))};
  const std::string good = pack("good.tar", two, {small_model(), labels});
  const Bytes whole = *files::read_all(good, 1u << 20);
  ASSERT_TRUE(files::replace(home_ + "/cut.tar", BytesView(whole).substr(0, 1'540)));
  ASSERT_TRUE(files::replace(home_ + "/noise.zip", Bytes(5'000, 'n')));
  fs::create_symlink(good, home_ + "/link.tar");
  struct Case {
    const char* why;
    std::string path, code, says;
  };
  const Case cases[] = {
      {"another's signature", pack("other.zip", two, {small_model(), labels}, other), "denied", "key"},
      {"other bytes of the last file", pack("hash.zip", two, {small_model(), "cat\ncow\n"}), "corrupt",
       "member 'labels.txt' has other content than the manifest says"},
      {"a byte too many", pack("long.tar", two, {small_model(), labels + "x"}, key(), &longer), "corrupt",
       "member 'labels.txt' is longer than 8 bytes"},
      {"cut short", home_ + "/cut.tar", "corrupt", "bundle " + home_ + "/cut.tar: "},
      {"no archive", home_ + "/noise.zip", "", "bundle " + home_ + "/noise.zip: "},
      {"more than the flash may hold", pack("large.zip", large, {small_model(), Bytes(100'000, 'x')}), "busy",
       "models.quota_mib = 0: detector 1.0.0 needs " + std::to_string(100'000 + small_model().size()) +
           " bytes beside"},
      {"nothing there", home_ + "/none.zip", "not_found", "none.zip"},
      {"a folder", home_, "invalid", "not a plain file"},
      {"a link", home_ + "/link.tar", "", "link.tar"},
  };
  published_at_hub("1.0.0");
  start();
  session();
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    const std::string said = import(c.path);
    expect(said, c.code.empty() ? "\"error\":{" : "\"error\":{\"code\":\"" + c.code + "\"");
    expect(said, c.says);
    EXPECT_EQ(kept(), 0u);
    EXPECT_FALSE(here(small_model()) || here(labels) || part_is_here());
  }
  expect(import(good), "\"files\":2,");
  EXPECT_TRUE(here(small_model()) && here(labels));
}

TEST_F(ModelImportTest, WithoutASessionEverThereIsNoKeyAndNothingIsTaken) {  // M4
  start();
  expect(import(stick("1.0.0")),
         "\"error\":{\"code\":\"unavailable\",\"message\":\"this edge has had no session with a "
         "hub yet, and no key to check the signature of a bundle with");
  EXPECT_FALSE(here(small_model()));
}

TEST_F(ModelImportTest, WhatAStickBroughtOutlivesARestart) {  // M2, M8
  published_at_hub("1.0.0");
  start();
  session();
  expect(import(stick("1.0.0")), "\"imported\":{");
  keeper_.reset();
  change([&] { reports_.clear(); });
  start();
  expect(care(StoreWork::kCollect), "\"garbage\":0,");
  EXPECT_FALSE(fs::exists(room("1.0.0"))) << "a start verifies nothing that no pointer named";
  session();
  name(model_current_key("detector"), "1.0.0");
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  EXPECT_EQ(from_hubs(), 0u);
}

// The pointer came by the link, and then the link was gone: the files come on a stick, and the version is in force.
TEST_F(ModelImportTest, AVersionThatIsNamedIsVerifiedWithoutAHub) {  // M2, M5
  published_at_hub("1.0.0");
  start();
  session();
  name(model_current_key("detector"), "1.0.0");
  ASSERT_TRUE(wait([&] { return said("1.0.0", "this hub holds no such file"); }));
  server_.reset();
  expect(import(stick("1.0.0")), "\"named\":true,\"verified\":false}");
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  EXPECT_TRUE(fs::exists(room("1.0.0") + "/" + kVerifiedMark));
  expect(care(StoreWork::kVerify), "\"sound\":true,\"ok\":1,");
  EXPECT_EQ(kept(), 0u);
}

// What the trust files do not allow is not verified, whatever brought it; and when they do, it costs no bytes.
TEST_F(ModelImportTest, TheTrustFilesAreAskedWhenThePointerNamesIt) {  // X2
  Publisher p = publisher(wall_ms_now());
  published_at_hub("1.0.0");
  start();
  session();
  allow(p, {"2.0.0"});
  name(model_staged_key("detector"), "1.0.0");
  ASSERT_TRUE(wait([&] { return said("1.0.0", "withdrawn or never signed"); }));
  expect(import(stick("1.0.0")), "\"named\":true,\"verified\":false}");
  expect(care(StoreWork::kVerify), "\"sound\":true,");  // its turn comes after the pointer's
  EXPECT_FALSE(fs::exists(room("1.0.0")));
  allow(p, {"1.0.0", "2.0.0"});
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  EXPECT_EQ(from_hubs(), 0u);
}

TEST_F(ModelImportTest, WhatWasRecalledIsNotTaken) {  // M7
  start();
  session();
  const std::string first = stick("1.0.0"), second = stick("2.0.0");
  expect(import(first), "\"imported\":{");
  keeper_->on_recalled({{"detector", "1.0.0"}, {"detector", "2.0.0"}});
  for (const std::string& path : {first, second})
    expect(import(path), "\"error\":{\"code\":\"denied\",\"message\":\"detector ");
  EXPECT_EQ(kept(), 0u) << "and what was here before the recall is kept no longer";
}

// What a transfer had brought before the link died does not come again; what of it went bad is not believed.
TEST_F(ModelImportTest, APartThatCameByTheLinkIsUsed) {  // M3, X3
  const Bytes model = small_model();
  const std::size_t half = model.size() / 2;
  struct Case {
    const char* why;
    Bytes part;
    bool right;
  };
  const Case cases[] = {{"as it came", model.substr(0, half), true}, {"gone bad", Bytes(half, '?'), false}};
  const std::string path = stick("1.0.0");
  for (const Case& c : cases) {
    SCOPED_TRACE(c.why);
    keeper_.reset();
    fs::remove_all(config_.data_dir + "/models");
    {
      const auto blobs = BlobStore::open(config_.data_dir + "/models/blobs");
      ASSERT_TRUE((*(*blobs)->put_stream(sha256(model), model.size()))->write(c.part));
    }
    start();
    session();
    const std::string first = import(path);
    if (c.right) {
      expect(first, "\"new_bytes\":" + std::to_string(model.size() - half) + ",");
      continue;
    }
    expect(first, "damaged on disk, and is dropped now; import the bundle again");
    EXPECT_EQ(kept(), 0u);
    EXPECT_FALSE(part_is_here());
    expect(import(path), "\"new_bytes\":" + std::to_string(model.size()) + ",");
  }
}

// The explicit rule by which it goes; and what is damaged is said, not served.
TEST_F(ModelImportTest, ItGoesWhenSomebodyCollectsWhatWasImported) {  // M8, X3
  const Bytes named = small_model("named");
  published_at_hub("1.0.0", named);
  hub_.hold(model_version_key("detector", "1.0.0"), published("1.0.0", named));
  start();
  session();
  expect(import(stick("1.0.0", named)), "\"imported\":{");
  expect(import(stick("2.0.0")), "\"imported\":{");
  name(model_staged_key("detector"), "1.0.0", named);
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  expect(care(StoreWork::kCollectImported, true),
         "\"garbage\":1,\"garbage_bytes\":" + std::to_string(small_model().size()));
  EXPECT_TRUE(here(small_model())) << "a dry run removes nothing";
  expect(care(StoreWork::kCollect), "\"garbage\":0,");
  expect(care(StoreWork::kCollectImported), "\"garbage\":1,");
  EXPECT_FALSE(here(small_model()));
  EXPECT_TRUE(here(named)) << "what a pointer names stays";
  EXPECT_EQ(kept(), 0u);
  expect(care(StoreWork::kVerify), "\"releases\":1,\"repaired\":0,\"sound\":true,\"ok\":1,");
  expect(import(home_ + "/detector-2.0.0.zip"), "\"new_bytes\":" + std::to_string(small_model().size()));
  const std::string hex = to_hex(sha256(small_model()));
  fs::remove(config_.data_dir + "/models/blobs/blobs/" + hex.substr(0, 2) + "/" + hex);
  expect(care(StoreWork::kRepair), "no pointer names it yet: import its bundle again");
  expect(import(home_ + "/detector-2.0.0.zip"), "\"new_bytes\":" + std::to_string(small_model().size()));
  expect(care(StoreWork::kVerify), "\"sound\":true,\"ok\":2,");
}

// The fleet's pointers come first: what nobody staged gives its room to what somebody did.
TEST_F(ModelImportTest, ItGivesWayToWhatAPointerNames) {  // M8
  const Bytes staged = small_model("one"), brought = small_model("two");
  config_.models.quota_bytes = 2 * staged.size() + 10;
  hub_.have_file(staged);
  published_at_hub("1.0.0", staged);
  start();
  session();
  expect(import(stick("2.0.0", brought)), "\"imported\":{");
  name(model_staged_key("detector"), "1.0.0", staged);
  ASSERT_TRUE(wait([&] { return said("1.0.0", ""); }));
  EXPECT_FALSE(here(brought));
  EXPECT_EQ(kept(), 0u);
}

TEST_F(ModelImportTest, WhatAnotherKeySignedIsDroppedAtTheNextStart) {  // M4
  start();
  session();
  expect(import(stick("1.0.0")), "\"imported\":{");
  keeper_->on_session("hub-1", make_signing_key()->public_pem);
  (void)care(StoreWork::kVerify);  // its turn comes after the session's
  keeper_.reset();
  start();
  EXPECT_EQ(kept(), 0u);
  expect(care(StoreWork::kCollect), "\"garbage\":1,");
}

}  // namespace
}  // namespace tidelock
