// For tests: what each engine needs to be opened on a store of its own.
#pragma once

#include <sys/stat.h>

#include <map>
#include <set>

#include "base/rng.h"
#include "codec/signature.h"
#include "store/objects/object_servers_fixture.h"
#include "store/objects/object_store.h"
#include "store/objects/secret_watch_fixture.h"

namespace tidelock {

inline const char* engine_name(ObjectEngine engine) {
  return engine == ObjectEngine::kFolder ? "Folder" : engine == ObjectEngine::kS3 ? "S3" : "Azure";
}

inline Bytes some_bytes(std::size_t size, std::uint64_t seed = 7) {
  Rng rng(seed);
  Bytes out(size, '\0');
  for (std::size_t at = 0; at < size; at += 8) {
    const std::uint64_t word = rng.next();
    for (std::size_t i = at; i < std::min(size, at + 8); ++i) out[i] = static_cast<char>(word >> (8 * (i - at)));
  }
  return out;
}
inline ObjectSource source_of(const Bytes& bytes) {
  return [&bytes](std::uint64_t offset, std::size_t bytes_max) -> Result<Bytes> {
    return bytes.substr(std::min<std::size_t>(offset, bytes.size()), bytes_max);
  };
}
inline ObjectSink into(Bytes& out) {
  return [&out](BytesView piece) -> Result<void> {
    out += piece;
    return {};
  };
}

class ObjectStoreBench : public testing::Test {
 protected:
  static constexpr const char* kSecrets[] = {RadosGateway::kSecret, RadosGateway::kAccessKey, "sig="};

  // Empty: can be tested.
  static std::string missing(ObjectEngine engine) {
    if (engine == ObjectEngine::kS3 && !RadosGateway::installed()) return RadosGateway::kMissing;
    if (engine == ObjectEngine::kAzure && Azurite::program().empty()) return Azurite::kMissing;
    // One that is installed and does not come up has failed a test already.
    if (engine == ObjectEngine::kS3 && RadosGateway::running() == nullptr) return "radosgw did not come up";
    if (engine == ObjectEngine::kAzure && Azurite::running() == nullptr) return "azurite did not come up";
    return {};
  }
  std::string write_secret(const std::string& text) {
    const std::string path = folder_.path() + "/secret-" + std::to_string(count_++);
    std::ofstream(path) << text;
    ::chmod(path.c_str(), 0600);
    return path;
  }
  // A bucket or container of this test; `port`: a proxy's in place of the server's.
  ObjectStoreOptions options(ObjectEngine engine, int port = 0) {
    ObjectStoreOptions out;
    out.engine = engine;
    out.credentials = CredentialKind::kFile;
    out.pause = [this](Nanos wait) {
      waits_.push_back(wait);
      return true;
    };
    static int buckets = 0;
    if (bucket_.empty()) {
      bucket_ = "test-" + std::to_string(++buckets);
      if (engine == ObjectEngine::kS3) RadosGateway::running()->make_bucket(bucket_);
      if (engine == ObjectEngine::kAzure) Azurite::running()->make_container(bucket_);
    }
    if (engine == ObjectEngine::kFolder) {
      out.url = folder_.path() + "/shared";
    } else if (engine == ObjectEngine::kS3) {
      out.url =
          "http://127.0.0.1:" + std::to_string(port == 0 ? RadosGateway::running()->port() : port) + "/" + bucket_;
      out.credentials_file = write_secret(std::string("[default]\naws_access_key_id = ") + RadosGateway::kAccessKey +
                                          "\naws_secret_access_key = " + RadosGateway::kSecret + "\n");
    } else {
      out.url = "http://127.0.0.1:" + std::to_string(port == 0 ? Azurite::running()->port() : port) + "/" +
                Azurite::kAccount + "/" + bucket_;
      out.credentials_file = write_secret(std::string("azure_storage_account = ") + Azurite::kAccount +
                                          "\nazure_storage_key = " + Azurite::key() + "\n");
    }
    return out;
  }
  std::unique_ptr<ObjectStore> open(const ObjectStoreOptions& how) {
    auto store = open_object_store(how, clock_);
    EXPECT_TRUE(store) << store.error().message;
    if (store) SecretWatch::pulled(**store);
    return store ? std::move(*store) : nullptr;
  }
  static Result<void> put(ObjectStore& store, const std::string& key, const Bytes& bytes) {
    return store.put(key, bytes.size(), sha256(bytes), source_of(bytes));
  }
  static Result<Bytes> get(ObjectStore& store, const std::string& key, std::uint64_t offset = 0,
                           std::optional<std::uint64_t> bytes_max = std::nullopt) {
    Bytes out;
    const auto ok = store.get(key, offset, bytes_max, into(out));
    if (!ok) return fail(ok.error());
    return out;
  }
  // The error's code and a word of it; and that no error, and no log of one, ever shows a secret.
  template <class T>
  void refused(const Result<T>& result, Code code, const std::string& says, const std::string& why) {
    ASSERT_FALSE(result) << why;
    SecretWatch::failed(result.error());
    EXPECT_EQ(result.error().code, code) << why << ": " << result.error().message;
    EXPECT_NE(result.error().message.find(says), std::string::npos) << why << ": " << result.error().message;
    for (const char* secret : kSecrets)
      EXPECT_EQ(result.error().message.find(secret), std::string::npos) << why << ": shows a secret";
    EXPECT_EQ(result.error().message.find(Azurite::key()), std::string::npos) << why << ": shows a secret";
  }

  TestFolder folder_;
  ElapsedClock clock_;
  std::vector<Nanos> waits_;
  std::string bucket_;
  int count_ = 0;
  const SecretWatch watch_{{RadosGateway::kSecret, RadosGateway::kAccessKey, Azurite::key(), "sig="}};
};

}  // namespace tidelock
