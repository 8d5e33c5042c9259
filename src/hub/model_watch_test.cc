// What may lie in a bucket that a hub watches, and what becomes of it.
#include "hub/model_watch.h"

#include <map>

#include "codec/archive.h"
#include "store/objects/conformance_fixture.h"

namespace tidelock {
namespace {

class ModelWatchTest : public ObjectStoreBench {
 protected:
  void SetUp() override {
    store_ = open(options(ObjectEngine::kFolder));
    ASSERT_NE(store_, nullptr);
    hub_.active = [] { return true; };
    hub_.model_key = [this] { return key_.public_pem; };
    hub_.bring = [this](const ManifestFile& file) -> Result<void> {
      ++brought_;
      const auto got = get(*store_, "fleet/blobs/" + to_hex(file.sha256));
      if (!got) return fail(got.error());
      if (sha256(*got) == file.sha256) return {};
      return fail(Code::kCorrupt, "other content");
    };
    hub_.publish = [this](const Manifest& manifest, const Bytes& bytes) -> Result<void> {
      ++asked_;
      const auto [at, fresh] = ledger_.emplace(manifest.name + " " + manifest.version, bytes);
      if (fresh || at->second == bytes) return {};
      return fail(Code::kConflict, "published with other content");
    };
  }
  Bytes release(const std::string& version, const Bytes& model, const std::string& private_pem) {
    Manifest manifest;
    manifest.name = "detector";
    manifest.version = version;
    manifest.files = {{std::string(kModelFileName), FileRole::kModel, model.size(), sha256(model)}};
    return encode(*sign_manifest(manifest, private_pem));
  }
  void lay(const std::string& key, const Bytes& bytes) { ASSERT_TRUE(put(*store_, key, bytes)) << key; }
  void lay_model(const Bytes& model) { lay("fleet/blobs/" + to_hex(sha256(model)), model); }
  static std::string place(const std::string& version) {
    return "fleet/inbox/detector/" + version + "/tidelock.manifest";
  }
  std::unique_ptr<ModelWatch> watch() {
    return std::make_unique<ModelWatch>(ModelWatchOptions{"fleet/inbox/", 30 * kSecond, 1}, *store_, hub_, false);
  }

  SigningKey key_ = *make_signing_key();
  std::unique_ptr<ObjectStore> store_;
  ModelWatchHub hub_;
  std::map<std::string, Bytes> ledger_;
  int brought_ = 0, asked_ = 0;
};

TEST_F(ModelWatchTest, ASignedVersionIsPublishedOnce) {
  const auto first = watch();
  EXPECT_EQ(first->look().value_or(99), 0u) << "nothing lies there";
  lay_model("model one");
  lay(place("1.0.0"), release("1.0.0", "model one", key_.private_pem));
  lay("fleet/inbox/detector/1.0.0/notes.txt", "not a manifest");
  EXPECT_EQ(first->look().value_or(99), 1u);
  EXPECT_TRUE(ledger_.contains("detector 1.0.0"));
  EXPECT_EQ(first->look().value_or(99), 0u) << "seen";
  EXPECT_EQ(asked_, 1);
  const auto restarted = watch();
  EXPECT_TRUE(restarted->look());
  EXPECT_EQ(ledger_.size(), 1u) << "the same again changes nothing";
}

TEST_F(ModelWatchTest, AManifestWaitsForItsFiles) {
  const auto hub = watch();
  lay(place("1.0.0"), release("1.0.0", "model one", key_.private_pem));
  EXPECT_EQ(hub->look().value_or(99), 0u);
  EXPECT_EQ(hub->look().value_or(99), 0u);
  EXPECT_EQ(brought_, 2) << "looked at again";
  lay_model("model one");
  EXPECT_EQ(hub->look().value_or(99), 1u);
}

TEST_F(ModelWatchTest, WhatIsNotRightIsNotPublished) {
  const SigningKey other = *make_signing_key();
  lay_model("model");
  lay(place("1.0.0"), release("1.0.0", "model", other.private_pem));
  lay(place("2.0.0"), release("2.1.0", "model", key_.private_pem));
  lay(place("3.0.0"), "no manifest at all");
  lay(place("4.0.0"), Bytes(kManifestBytesMax + 1, 'x'));
  lay("fleet/blobs/" + to_hex(sha256("wanted")), "given");
  lay(place("5.0.0"), release("5.0.0", "wanted", key_.private_pem));
  ledger_["detector 6.0.0"] = "what was published before";
  lay(place("6.0.0"), release("6.0.0", "model", key_.private_pem));
  const auto hub = watch();
  EXPECT_EQ(hub->look().value_or(99), 0u);
  EXPECT_EQ(ledger_.size(), 1u);
  EXPECT_EQ(ledger_["detector 6.0.0"], "what was published before") << "the ledger decides";
  const int brought = brought_;
  EXPECT_EQ(hub->look().value_or(99), 0u);
  EXPECT_EQ(brought_, brought + 1) << "only the one whose file is wrong: somebody may still be writing it";
  lay("fleet/blobs/" + to_hex(sha256("wanted")), "wanted");
  EXPECT_EQ(hub->look().value_or(99), 1u) << "now it is whole";
  lay(place("7.0.0"), release("7.0.0", "model", key_.private_pem));
  EXPECT_EQ(hub->look().value_or(99), 1u) << "they stand in nobody's way";
}

TEST_F(ModelWatchTest, ItsThreadLooksWhileTheHubIsActive) {
  lay_model("model");
  lay(place("1.0.0"), release("1.0.0", "model", key_.private_pem));
  std::atomic<bool> active{false};
  std::atomic<int> asked{0}, published{0};
  hub_.active = [&] {
    ++asked;
    return active.load();
  };
  hub_.publish = [&](const Manifest&, const Bytes&) -> Result<void> {
    ++published;
    return {};
  };
  ModelWatch hub({"fleet/inbox/", 5 * kMillisecond, 1}, *store_, hub_);
  ASSERT_TRUE(comes_up([&] { return asked > 3; }));
  EXPECT_EQ(published, 0) << "standing by";
  active = true;
  EXPECT_TRUE(comes_up([&] { return published == 1; }));
}

}  // namespace
}  // namespace tidelock
