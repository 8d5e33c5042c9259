// A handle on the model room that an edge lays out: which version it takes, and why it takes none.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>

#include "client/scripted_edge_fixture.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "infer/onnx_file.h"
#include "protocol/admin.h"
#include "tidelock/model.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}
void write(const std::string& path, const Bytes& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

Bytes small_model() {
  OnnxBuilder b;
  const std::int64_t shape[] = {1, 2};
  b.input("x", shape);
  b.output("y", shape);
  b.node("Relu", {"x"}, {"y"});
  return b.finish("small");
}

class ModelHandleTest : public testing::Test {
 protected:
  void SetUp() override {
    auto client = Client::connect({.run_dir = edge_.run_dir(), .connect_timeout_ms = 30'000});
    ASSERT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
    place();
  }
  // As an edge leaves a version that it has verified, with the pointer in force on it.
  void place() {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    Manifest manifest;
    manifest.name = "detector";
    manifest.version = "1.0.0";
    const Bytes model = small_model();
    manifest.files = {{"model.onnx", FileRole::kModel, model.size(), sha256(model)}};
    write(folder_ + "/model.onnx", model);
    write(folder_ + "/tidelock.verified", "by a test\n");
    publish(encode(*sign_manifest(manifest, key().private_pem)));
  }
  void publish(const Bytes& encoded) {
    write(folder_ + "/tidelock.manifest", encoded);
    point_at({"1.0.0", sha256(encoded), ""});
  }
  void point_at(ModelPointer pointer) {
    const Bytes value = encode(pointer);
    edge_.answer("TL.GET " + model_current_key("detector"), "%2\r\n$5\r\nvalue\r\n$" + std::to_string(value.size()) +
                                                                "\r\n" + value + "\r\n$7\r\nversion\r\n:7\r\n");
  }
  // Longer and longer, until the watcher had the time to say it: its word is the last part of the error.
  std::string open_until(const std::string& says) {
    std::string said;
    for (std::int64_t timeout_ms = 25; timeout_ms < 20'000; timeout_ms *= 2) {
      const auto handle = ModelHandle::open(*client_, "detector", {.first_timeout_ms = timeout_ms});
      if (handle) return "opened";
      EXPECT_EQ(handle.error().code, Code::kNotFound);
      said = handle.error().message;
      if (said.find(says) != std::string::npos) break;
    }
    return said;
  }

  ScriptedEdge edge_;
  const std::string folder_ = edge_.run_dir() + "/models/detector/1.0.0";
  std::unique_ptr<Client> client_;
};

TEST_F(ModelHandleTest, WithoutAPageTheVersionIsGivenAndFlagged) {  // M6
  const auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  const auto use = (*handle)->acquire();
  ASSERT_TRUE(use) << use.error().message;
  EXPECT_EQ(use->receipt.version, "1.0.0");
  EXPECT_EQ(use->receipt.activation, Index{7});
  EXPECT_FALSE(use->receipt.proven);
  EXPECT_TRUE(use->receipt.fallback);
  EXPECT_EQ(use->receipt.bound_ns, kForever);
  const std::int64_t shape[] = {1, 2};
  const float values[] = {-1, 3};
  const TensorView input[] = {{"x", shape, values}};
  const auto outputs = use->model->run(input);
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_EQ(outputs->at(0).values, (std::vector<float>{0, 3}));
  const auto swaps = (*handle)->take_swaps();
  ASSERT_EQ(swaps.size(), 1u);
  EXPECT_EQ(swaps[0].version, "1.0.0");
}

TEST_F(ModelHandleTest, ReceiptsSayThatTheTrustFilesHaveExpired) {  // X2
  const auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  EXPECT_FALSE((*handle)->acquire()->receipt.trust_expired);
  const std::string flag = edge_.run_dir() + "/models/.trust-expired";
  const auto says = [&](bool expired) {  // the watcher's next look, or one after it
    for (int i = 0; i < 20'000'000 && (*handle)->acquire()->receipt.trust_expired != expired; ++i)
      std::this_thread::yield();
    return (*handle)->acquire()->receipt.trust_expired == expired;
  };
  write(flag, "timestamp expired\n");
  EXPECT_TRUE(says(true));
  const auto use = (*handle)->acquire();
  EXPECT_TRUE(use->receipt.fallback) << "flagged (M6)";
  fs::remove(flag);
  EXPECT_TRUE(says(false));
}

TEST_F(ModelHandleTest, TakesNoVersionThatDoesNotHoldAndSaysWhy) {  // M4, X3
  struct Case {
    const char* why;
    std::function<void()> spoil;
    std::string says;
  };
  const Case cases[] = {
      {"the edge has not verified it", [&] { fs::remove(folder_ + "/tidelock.verified"); },
       folder_ + " is not verified yet"},
      {"its manifest is gone", [&] { fs::remove(folder_ + "/tidelock.manifest"); },
       folder_ + "/tidelock.manifest is not there"},
      {"its model is gone", [&] { fs::remove(folder_ + "/model.onnx"); }, folder_ + "/model.onnx is not there"},
      {"the pointer names other content under the same version",
       [&] { point_at({"1.0.0", sha256("another manifest"), ""}); },
       folder_ + " holds another manifest than the pointer names"},
      {"a manifest that names no model",
       [&] {
         Manifest empty;
         empty.name = "detector";
         empty.version = "1.0.0";
         publish(encode(SignedManifest{encode(empty), "", ""}));
       },
       folder_ + " names no model file"},
      {"a model that grew", [&] { write(folder_ + "/model.onnx", small_model() + "x"); },
       folder_ + "/model.onnx does not hash to what its manifest says"},
      {"a model with one bit turned",
       [&] {
         Bytes model = small_model();
         model[model.size() / 2] = static_cast<char>(model[model.size() / 2] ^ 1);
         write(folder_ + "/model.onnx", model);
       },
       folder_ + "/model.onnx does not hash to what its manifest says"},
      {"a signed manifest that is none", [&] { publish("not a manifest"); }, "signed manifest"},
      {"a manifest that is none", [&] { publish(encode(SignedManifest{"not a manifest", "", ""})); }, "manifest"},
  };
  for (const Case& c : cases) {
    place();
    c.spoil();
    const std::string said = open_until(": " + c.says);
    EXPECT_TRUE(said.starts_with("model 'detector' has no version in force that this gateway has verified: " + c.says))
        << c.why << ": " << said;
  }
  place();
  edge_.answer("TL.GET " + model_current_key("detector"), "%1\r\n$5\r\nvalue\r\n_\r\n");
  EXPECT_EQ(open_until("verified"), "model 'detector' has no version in force that this gateway has verified")
      << "no pointer at all";
  place();
  EXPECT_EQ(open_until("nothing"), "opened") << "whole again";
}

// Not from Client::connect: a fake of an application's own tests, say.
class OtherClient : public Client {
 public:
  Result<Value> get(std::string_view, const Contract&, Receipt*) override { return fail(Code::kNotFound, ""); }
  Result<Receipt> get_into(std::string_view, const Contract&, std::string&) override {
    return fail(Code::kNotFound, "");
  }
  Result<Fields> get_fields(std::string_view, std::span<const std::string_view>, const Contract&, Receipt*) override {
    return fail(Code::kNotFound, "");
  }
  Result<Receipt> get_ref(std::string_view, const Contract&, ValueRef&) override {
    return fail(Code::kUnavailable, "");
  }
  Result<void> get_many(std::span<const std::string_view>, const Contract&, ValueBatch&) override {
    return fail(Code::kUnavailable, "");
  }
  Result<Written> set(std::string_view, std::string_view, const SetOptions&) override { return Written{}; }
  Result<bool> erase(std::string_view) override { return false; }
  ClientStats stats() const override { return {}; }
};

TEST_F(ModelHandleTest, RefusesWhatItCannotWatchWith) {
  OtherClient other;
  struct Case {
    const char* why;
    Client* client;
    ModelOptions options;
    Code code;
    const char* says;
  };
  const Case cases[] = {
      {"a client of another make", &other, {}, Code::kInvalid, "the client must come from Client::connect"},
      {"a watcher that never rests",
       client_.get(),
       {.poll_us = 99},
       Code::kInvalid,
       "poll_us = 99: must be at least 100"},
      {"an engine nobody has", client_.get(), {.engine = "tensorflow"}, Code::kInvalid, "tensorflow"},
  };
  for (const Case& c : cases) {
    const auto refused = ModelHandle::open(*c.client, "detector", c.options);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, c.code) << c.why;
    EXPECT_NE(refused.error().message.find(c.says), std::string::npos) << c.why << ": " << refused.error().message;
  }
}

}  // namespace
}  // namespace tidelock
