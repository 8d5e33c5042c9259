// A handle on the model room that an edge lays out: which version it takes, and why it takes none.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <thread>

#include "base/wall_clock.h"
#include "client/scripted_edge_fixture.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "infer/onnx_file.h"
#include "infer/shared_weights.h"
#include "memory/page.h"
#include "protocol/admin.h"
#include "protocol/in_force_mark.h"
#include "protocol/recalled_list.h"
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
    encoded_ = encoded;
    point_at({"1.0.0", sha256(encoded), ""});
  }
  void point_at(ModelPointer pointer) {
    const Bytes value = encode(pointer);
    edge_.answer("TL.GET " + model_current_key("detector"), "%2\r\n$5\r\nvalue\r\n$" + std::to_string(value.size()) +
                                                                "\r\n" + value + "\r\n$7\r\nversion\r\n:7\r\n");
    edge_.answer("TL.GET " + model_ring_key("detector"), kAbsent);
  }
  // The page of an edge, so that apps see its policies and breakers.
  PageWriter with_page(std::vector<Namespace> namespaces = default_namespaces()) {
    PageOptions options;
    options.path = edge_.run_dir() + "/page";
    options.edge_boot = Boot{7};
    options.namespaces = std::move(namespaces);
    auto page = PageWriter::create(options);
    EXPECT_TRUE(page) << page.error().message;
    return std::move(*page);
  }
  static std::vector<Namespace> without_fallback() {
    std::vector<Namespace> namespaces = default_namespaces();
    for (Namespace& ns : namespaces) ns.on_stale = {OnStale::kRefresh, OnStale::kWait, OnStale::kFail};
    return namespaces;
  }
  void leave_mark(const InForceMark& mark) { write(folder_ + "/../" + std::string(kInForceMark), encode(mark)); }
  // `use` said so, or it came to say so; acquire is asked again and again, for as long as the test may run.
  template <class Until>
  static bool comes_to(ModelHandle& handle, Until&& until) {
    for (const std::int64_t began_ns = monotonic_ns_now(); monotonic_ns_now() - began_ns < 60 * kSecond;) {
      if (until(handle.acquire())) return true;
      std::this_thread::yield();
    }
    return false;
  }
  static constexpr char kAbsent[] = "%1\r\n$5\r\nvalue\r\n_\r\n";
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

  std::optional<Bytes> encoded_;  // the signed manifest that is placed
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

TEST_F(ModelHandleTest, ARecalledVersionIsNoFallback) {  // M7
  const auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  EXPECT_TRUE((*handle)->acquire()) << "a fallback, since there is no page";
  write(folder_ + "/../" + kRecalledList, "1.0.0\n");
  EXPECT_TRUE(comes_to(**handle, [](const Result<ModelUse>& use) {
    return !use && use.error().code == Code::kDenied &&
           use.error().message.find("version 1.0.0 was recalled") != std::string::npos;
  }));
  EXPECT_NE(open_until("version 1.0.0 was recalled").find("version 1.0.0 was recalled"), std::string::npos)
      << "who starts behind it does not load it";
}

TEST_F(ModelHandleTest, ReceiptsSayThatTheTrustFilesHaveExpired) {  // X2
  const auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  EXPECT_FALSE((*handle)->acquire()->receipt.trust_expired);
  const std::string flag = edge_.run_dir() + "/models/.trust-expired";
  const auto says = [&](bool expired) {  // the watcher's next look, or one after it
    return comes_to(**handle,
                    [&](const Result<ModelUse>& use) { return use && use->receipt.trust_expired == expired; });
  };
  write(flag, "timestamp expired\n");
  EXPECT_TRUE(says(true));
  const auto use = (*handle)->acquire();
  EXPECT_TRUE(use->receipt.fallback) << "flagged (M6)";
  fs::remove(flag);
  EXPECT_TRUE(says(false));
}

TEST_F(ModelHandleTest, EveryEngineThatIsHereRunsWhatAHandleGives) {  // M9, M10
  // Large enough for a file of weights, as the edge leaves it beside the model.
  constexpr std::int64_t kSide = 128;
  OnnxBuilder b;
  const std::int64_t shape[] = {1, kSide, 1, 1}, weights_shape[] = {kSide, kSide, 1, 1};
  b.input("x", shape);
  b.output("y", shape);
  std::vector<float> weights(static_cast<std::size_t>(kSide * kSide), 0.0f);
  for (std::size_t i = 0; i < static_cast<std::size_t>(kSide); ++i) weights[i * kSide + (kSide - 1 - i)] = 2;
  b.weights("w", weights_shape, weights);
  b.node("Conv", {"x", "w"}, {"y"}, {onnx_ints("kernel_shape", {1, 1})});
  const Bytes model = b.finish("mirror");
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = "1.0.0";
  manifest.files = {{"model.onnx", FileRole::kModel, model.size(), sha256(model)}};
  write(folder_ + "/model.onnx", model);
  publish(encode(*sign_manifest(manifest, key().private_pem)));
  std::vector<float> values, expected;
  for (int i = 0; i < kSide; ++i)
    values.push_back(static_cast<float>(i)), expected.push_back(2.0f * static_cast<float>(kSide - 1 - i));
  for (const bool shared : {false, true}) {
    if (shared) write(folder_ + "/" + kWeightsFileName, *weights_file_of(model));
    for (const EngineInfo& info : engines()) {
      if (!info.available) continue;
      const auto handle = ModelHandle::open(*client_, "detector", {.engine = info.name, .share_weights = shared});
      ASSERT_TRUE(handle) << info.name << ": " << handle.error().message;
      const auto use = (*handle)->acquire();
      ASSERT_TRUE(use) << info.name << ": " << use.error().message;
      const TensorView input[] = {{"x", shape, values}};
      const auto outputs = use->model->run(input);
      ASSERT_TRUE(outputs) << info.name << ": " << outputs.error().message;
      EXPECT_EQ(outputs->at(0).values, expected) << info.name << (shared ? ", over the edge's weights" : "");
    }
  }
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

TEST_F(ModelHandleTest, WhileTheRingCannotBeReadItTakesWhatWasInForceHere) {  // M5, M6
  const std::string ring = "TL.GET " + model_ring_key("detector");
  edge_.answer(ring, "-STALE bound_us=-1 no session with a hub\r\n");
  const std::string unknown =
      "whether a rollout took this gateway ahead cannot be read (model:detector:current@next), and ";
  EXPECT_NE(open_until(": " + unknown).find(unknown + "no version was in force here before"), std::string::npos)
      << "the version of the rest, which can be read, is not taken";
  const ModelPointer own{"1.0.0", sha256(*encoded_), ""};
  InForceMark other;
  other.format = 2;
  leave_mark(other);
  EXPECT_NE(open_until("what this library can read").find("is not what this library can read"), std::string::npos);
  leave_mark({1, own, Index{41}});
  {
    // The rest runs another version, which would be refused.
    point_at({"2.0.0", sha256("another"), "1.0.0"});
    edge_.answer(ring, "-STALE bound_us=-1 no session with a hub\r\n");
    const auto handle = ModelHandle::open(*client_, "detector", {});
    ASSERT_TRUE(handle) << handle.error().message;
    const auto use = (*handle)->acquire();
    ASSERT_TRUE(use) << use.error().message;
    EXPECT_EQ(use->receipt.version, "1.0.0");
    EXPECT_EQ(use->receipt.activation, Index{41});
    EXPECT_TRUE(use->receipt.fallback);
    EXPECT_EQ(use->receipt.bound_ns, kForever);
  }
  {
    const PageWriter page = with_page(without_fallback());
    client_ = std::move(*Client::connect({.run_dir = edge_.run_dir(), .connect_timeout_ms = 30'000}));
    EXPECT_NE(open_until("allows no fallback").find(unknown + "its namespace allows no fallback of unknown age"),
              std::string::npos);
  }
}

TEST_F(ModelHandleTest, WithoutAProofItRefusesWhereTheNamespaceAllowsNoFallback) {  // M6
  const auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  ASSERT_TRUE((*handle)->acquire());
  const PageWriter page = with_page(without_fallback());
  Error refused;
  EXPECT_TRUE(comes_to(**handle, [&](const Result<ModelUse>& use) {
    if (!use) refused = use.error();
    return !use;
  }));
  EXPECT_EQ(refused.code, Code::kStale) << refused.message;
  EXPECT_EQ(refused.detail_ns, kForever);
  EXPECT_FALSE(is_overloaded(refused));
}

TEST_F(ModelHandleTest, AnOpenBreakerRefusesFramesAndAHalfOpenOneLetsAFewThrough) {  // M10
  const auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  PageWriter page = with_page();
  const std::uint16_t ns = namespace_number(default_namespaces(), model_current_key("detector"));
  page.set_breaker(namespace_number(default_namespaces(), "feature:x"), Breaker::kOpen);
  page.set_breaker(ns, Breaker::kOpen);
  Error refused;
  ASSERT_TRUE(comes_to(**handle, [&](const Result<ModelUse>& use) {
    if (!use) refused = use.error();
    return !use;
  }));
  EXPECT_TRUE(is_overloaded(refused)) << refused.message;
  EXPECT_EQ(refused.code, Code::kBusy);
  EXPECT_EQ(refused.detail_ns, kProbeEvery);
  EXPECT_EQ(refused.message,
            "overloaded: the breaker of 'model:detector:current@default' is open: too many frames on this gateway "
            "failed or came late");
  for (int i = 0; i < 100; ++i) EXPECT_FALSE((*handle)->acquire()) << "open: not one";

  page.set_breaker(ns, Breaker::kHalfOpen);
  int given = 0, refusals = 0;
  const std::int64_t began_ns = monotonic_ns_now();
  while (given < 3 && monotonic_ns_now() - began_ns < 60 * kSecond) (*handle)->acquire() ? ++given : ++refusals;
  const std::int64_t took_ns = monotonic_ns_now() - began_ns;
  EXPECT_EQ(given, 3);
  EXPECT_GE(took_ns, 2 * kProbeEvery) << "one now and then";
  EXPECT_GT(refusals, 0);

  page.set_breaker(ns, Breaker::kClosed);
  EXPECT_TRUE((*handle)->acquire());
  EXPECT_TRUE((*handle)->acquire());
}

TEST_F(ModelHandleTest, HowFramesWentIsToldWithoutTheAppsDoing) {  // M5, M10
  edge_.answer("TL.HEALTH", "+OK\r\n");
  auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  const auto use = (*handle)->acquire();
  ASSERT_TRUE(use) << use.error().message;
  const std::int64_t shape[] = {1, 2};
  const float values[] = {-1, 3};
  const TensorView input[] = {{"x", shape, values}};
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(use->model->run(input));
  for (int i = 0; i < 3; ++i) ASSERT_FALSE(use->model->run({}));
  for (int i = 0; i < 2; ++i) (*handle)->report(*use, FrameVerdict::kBad);
  (*handle)->report(*use, FrameVerdict::kSick);
  (*handle)->report(ModelUse{}, FrameVerdict::kBad);
  handle->reset();  // what is left is told at the end
  // TL.HEALTH detector 1.0.0 VERDICT COUNT n [LATENCY_US us]
  std::uint64_t good = 0, bad = 0, sick = 0;
  for (const std::string& command : edge_.commands("TL.HEALTH detector 1.0.0 ")) {
    std::istringstream words(command);
    std::string word, verdict;
    std::uint64_t count = 1;
    words >> word >> word >> word >> verdict;
    if (words >> word) {
      EXPECT_EQ(word, "COUNT") << command;
      words >> count;
    }
    if (verdict == "OK") {
      EXPECT_TRUE(words >> word && word == "LATENCY_US") << command;
      good += count;
    } else {
      EXPECT_FALSE(words >> word) << command << ": what failed has no latency";
      (verdict == "BAD" ? bad : sick) += count;
    }
  }
  EXPECT_EQ(bad, 3u + 2u);
  EXPECT_EQ(good, 10u - 2u) << "a frame that the app found bad is not counted as good as well";
  EXPECT_EQ(sick, 1u);
}

TEST_F(ModelHandleTest, WhatTheEdgeCouldNotHearIsToldLater) {
  edge_.answer("TL.HEALTH", "+OK\r\n");
  auto handle = ModelHandle::open(*client_, "detector", {});
  ASSERT_TRUE(handle) << handle.error().message;
  const auto use = (*handle)->acquire();
  ASSERT_TRUE(use) << use.error().message;
  edge_.stop();
  for (int i = 0; i < 7; ++i) ASSERT_FALSE(use->model->run({}));
  edge_.start();
  const auto told = [&] {
    std::uint64_t bad = 0;
    for (const std::string& command : edge_.commands("TL.HEALTH detector 1.0.0 BAD COUNT "))
      bad += std::stoull(command.substr(command.rfind(' ')));
    return bad;
  };
  EXPECT_TRUE(comes_to(**handle, [&](const Result<ModelUse>&) { return told() >= 7; }));
  handle->reset();
  EXPECT_EQ(told(), 7u) << "each frame once";
}

TEST_F(ModelHandleTest, AnAppThatTellsByItselfIsNotSpokenFor) {
  edge_.answer("TL.HEALTH", "+OK\r\n");
  auto handle = ModelHandle::open(*client_, "detector", {.report_health = false});
  ASSERT_TRUE(handle) << handle.error().message;
  const auto use = (*handle)->acquire();
  ASSERT_TRUE(use) << use.error().message;
  for (int i = 0; i < 7; ++i) ASSERT_FALSE(use->model->run({}));
  handle->reset();
  EXPECT_TRUE(edge_.commands("TL.HEALTH").empty());
}

TEST_F(ModelHandleTest, AVersionThatThisProcessCannotRunCountsAgainstIt) {  // M5
  edge_.answer("TL.HEALTH", "+OK\r\n");
  Manifest manifest;
  manifest.name = "detector";
  manifest.version = "1.0.0";
  const Bytes no_model = "no model at all";
  manifest.files = {{"model.onnx", FileRole::kModel, no_model.size(), sha256(no_model)}};
  write(folder_ + "/model.onnx", no_model);
  publish(encode(*sign_manifest(manifest, key().private_pem)));
  EXPECT_NE(open_until(": ").find("has no version in force"), std::string::npos);
  EXPECT_FALSE(edge_.commands("TL.HEALTH detector 1.0.0 SICK").empty());
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
  Result<Receipt> read_in_place(std::string_view, const Contract&, InPlaceVisitor) override {
    return fail(Code::kUnavailable, "");
  }
  Result<Receipt> get_ref(std::string_view, const Contract&, ValueRef&) override {
    return fail(Code::kUnavailable, "");
  }
  Result<void> get_many(std::span<const std::string_view>, const Contract&, ValueBatch&) override {
    return fail(Code::kUnavailable, "");
  }
  Result<void> snapshot(std::span<const std::string_view>, ValueBatch&) override {
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
