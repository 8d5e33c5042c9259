// Azure Blob against an Azurite, which verifies both kinds of signatures.
#include "store/objects/conformance_fixture.h"

namespace tidelock {
namespace {

class AzureStoreTest : public ObjectStoreBench {
 protected:
  void SetUp() override {
    if (Azurite::program().empty()) GTEST_SKIP() << Azurite::kMissing;
    ASSERT_NE(Azurite::running(), nullptr);
    direct_ = open(options(ObjectEngine::kAzure));
    ASSERT_NE(direct_, nullptr);
    ASSERT_TRUE(put(*direct_, "object", "x"));
  }
  std::unique_ptr<ObjectStore> with(const std::string& lines) {
    auto how = options(ObjectEngine::kAzure);
    how.credentials_file = write_secret(std::string("azure_storage_account=") + Azurite::kAccount + "\n" + lines);
    return open(how);
  }
  std::unique_ptr<ObjectStore> direct_;
};

TEST_F(AzureStoreTest, AnotherKeyIsRefused) {
  const auto store = with("azure_storage_key=" + to_base64("the key of the account of this test, somebody else's"));
  refused(get(*store, "object"), Code::kDenied, "403", "get");
  refused(put(*store, "object", "y"), Code::kDenied, "403", "put");
  refused(store->list("", "", 5), Code::kDenied, "403", "list");
  EXPECT_EQ(get(*direct_, "object").value_or("none"), "x");
}

TEST_F(AzureStoreTest, ATokenAllowsWhatItSays) {
  const std::string all = Azurite::sas(bucket_, "racwdl"), reads = Azurite::sas(bucket_, "r");
  const auto owner = with("azure_storage_sas_token=" + all);
  const Bytes large = some_bytes(kPartBytes + 1);
  const auto done = put(*owner, "dir/large one", large);
  ASSERT_TRUE(done) << done.error().message;
  EXPECT_TRUE(get(*owner, "dir/large one").value_or("") == large);
  EXPECT_EQ(owner->list("", "", 5)->objects.size(), 2u);
  const auto reader = with("azure_storage_sas_token=?" + reads);
  EXPECT_EQ(get(*reader, "object").value_or("none"), "x");
  refused(put(*reader, "object", "y"), Code::kDenied, "403", "a token for reading does not write");
  std::string tampered = reads;
  tampered.replace(tampered.find("sp=r"), 4, "sp=rw");
  refused(get(*with("azure_storage_sas_token=" + tampered), "object"), Code::kDenied, "403",
          "rights that were added are not signed");
  EXPECT_TRUE(owner->remove("object"));
}

TEST_F(AzureStoreTest, AMissingContainerIsNoMissingKey) {
  auto how = options(ObjectEngine::kAzure);
  how.url += "-elsewhere";
  refused(get(*open(how), "object"), Code::kInvalid, "make the container", "get");
}

TEST_F(AzureStoreTest, AGetGoesOnAtTheByteItHas) {
  const Bytes bytes = some_bytes(10'000'000);
  ASSERT_TRUE(put(*direct_, "large", bytes));
  int cuts = 2;
  ScriptedServer proxy(
      [&](const std::string&) {
        ScriptedServer::Plan plan;
        if (cuts-- > 0) plan.cut_answer_after = 3'000'000;
        return plan;
      },
      Azurite::running()->port());
  const auto back = get(*open(options(ObjectEngine::kAzure, proxy.port())), "large");
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_TRUE(*back == bytes);
  EXPECT_EQ(proxy.heads().size(), 3u);
}

}  // namespace
}  // namespace tidelock
