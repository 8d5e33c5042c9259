// A handle warms with the golden case of a version, in the engine of its app. The versions lie as an edge leaves them
// that has verified them in another engine: here, one that gave whatever the case expects.
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/elapsed_clock.h"
#include "base/wall_clock.h"
#include "client/scripted_edge_fixture.h"
#include "codec/archive.h"
#include "codec/manifest.h"
#include "codec/signature.h"
#include "infer/onnx_file.h"
#include "memory/local_reader_fixture.h"
#include "protocol/admin.h"
#include "protocol/policy.h"
#include "protocol/read_order.h"
#include "protocol/rollout.h"
#include "tidelock/model.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;

const SigningKey& key() {
  static const SigningKey made = *make_signing_key();
  return made;
}
void write(const std::string& path, const Bytes& bytes) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
Bytes f32(std::vector<float> values) {
  Bytes out(values.size() * sizeof(float), '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}
constexpr std::int64_t kInputShape[] = {1, 3};

// y = x0 + x1 + x2 + bias. With `any` the model does not say how long x is.
Bytes model_of(float bias, bool any = false) {
  OnnxBuilder b;
  const std::int64_t x[] = {1, any ? -1 : 3}, y[] = {1, 1}, w_shape[] = {1, 3}, b_shape[] = {1};
  const float w[] = {1, 1, 1}, bias_values[] = {bias};
  b.input("x", x);
  b.output("y", y);
  b.weights("W", w_shape, w);
  b.weights("B", b_shape, bias_values);
  b.node("Gemm", {"x", "W", "B"}, {"y"}, {onnx_int("transB", 1)});
  return b.finish("sum");
}

class ModelGoldenTest : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    for (const EngineInfo& info : engines()) {
      if (info.name == GetParam() && !info.available) GTEST_SKIP() << info.detail;
    }
    edge_.answer("TL.HEALTH", "+OK\r\n");
    memory_.prove(0, 100'000 * kSecond);
    memory_.write(model_ring_key("detector"), "", 1, true);
    auto client = Client::connect({.run_dir = edge_.run_dir(), .connect_timeout_ms = 30'000});
    ASSERT_TRUE(client) << client.error().message;
    client_ = std::move(*client);
  }

  // A version of two golden cases; the handle runs the first: 1 + 2 + 3 must give `expected`.
  Bytes place(const std::string& version, const Bytes& model, float expected, std::uint32_t tolerance_millionths) {
    const std::string folder = edge_.run_dir() + "/models/detector/" + version;
    const Bytes input = f32({1, 2, 3});
    Manifest manifest;
    manifest.name = "detector";
    manifest.version = version;
    manifest.files = {{"model.onnx", FileRole::kModel, model.size(), sha256(model)},
                      {"golden/a/x", FileRole::kGolden, input.size(), sha256(input)}};
    const GoldenTensor x{{"x", TensorType::kF32, {1, 3}}, "golden/a/x", {}};
    manifest.golden = {{{x}, {{{"y", TensorType::kF32, {1, 1}}, "", f32({expected})}}, tolerance_millionths},
                       {{x}, {{{"y", TensorType::kF32, {1, 1}}, "", f32({-1})}}, 1}};
    write(folder + "/model.onnx", model);
    write(folder + "/golden/a/x", input);
    const auto signed_manifest = sign_manifest(manifest, key().private_pem);
    EXPECT_TRUE(signed_manifest) << signed_manifest.error().message;
    const Bytes encoded = encode(*signed_manifest);
    write(folder + "/tidelock.manifest", encoded);
    write(folder + "/tidelock.verified", "by a test\n");
    return sha256(encoded);
  }
  void point_at(const std::string& version, const Bytes& manifest_sha256, Index activation) {
    memory_.write(model_current_key("detector"), encode(ModelPointer{version, manifest_sha256, ""}), activation.value);
  }
  Result<std::unique_ptr<ModelHandle>> open(std::int64_t first_timeout_ms = 60'000) {
    return ModelHandle::open(*client_, "detector", {.engine = GetParam(), .first_timeout_ms = first_timeout_ms});
  }
  // For as long as a test may take.
  template <class Until>
  static bool comes_to(Until&& until) {
    for (const std::int64_t began_ns = monotonic_ns_now(); monotonic_ns_now() - began_ns < 60 * kSecond;) {
      if (until()) return true;
      std::this_thread::yield();
    }
    return false;
  }
  static float sum(ModelHandle& handle) {
    const auto use = handle.acquire();
    if (!use) return -1;
    const float values[] = {1, 1, 1};
    const TensorView input[] = {{"x", kInputShape, values}};
    const auto outputs = use->model->run(input);
    EXPECT_TRUE(outputs) << outputs.error().message;
    return outputs ? outputs->at(0).values[0] : -1;
  }

  ScriptedEdge edge_;
  Edge memory_{{edge_.run_dir() + "/page", edge_.run_dir() + "/arena"}, 1, default_namespaces()};
  std::unique_ptr<Client> client_;
};
INSTANTIATE_TEST_SUITE_P(Engines, ModelGoldenTest, ::testing::Values("opencv", "onnxruntime"),
                         [](const auto& test) { return test.param; });

TEST_P(ModelGoldenTest, TheWarmUpRunsWhatTheModelTakes) {  // M10
  point_at("1.0.0", place("1.0.0", model_of(0, true), 6, 1'000), Index{7});
  const auto handle = open();
  ASSERT_TRUE(handle) << "zeros of 1x1, as before, are no input of it: " << handle.error().message;
  EXPECT_EQ((*handle)->problem(), "");
  EXPECT_EQ(sum(**handle), 3);
  EXPECT_TRUE(edge_.commands("TL.HEALTH detector 1.0.0 SICK").empty());
}

TEST_P(ModelGoldenTest, AVersionWhoseOutputsThisEngineDoesNotGiveIsNotSwappedTo) {  // M4, M5, M10
  point_at("1.0.0", place("1.0.0", model_of(0), 6, 1'000), Index{7});
  const auto handle = open();
  ASSERT_TRUE(handle) << handle.error().message;
  ASSERT_TRUE(comes_to([&] { return (*handle)->acquire()->receipt.proven; }));
  EXPECT_EQ(sum(**handle), 3);

  point_at("2.0.0", place("2.0.0", model_of(10), 16.1f, 1'000), Index{8});
  ASSERT_TRUE(comes_to([&] { return !(*handle)->problem().empty(); }));
  EXPECT_EQ((*handle)->problem(),
            "with engine " + std::string(GetParam()) +
                ", golden case 0 of detector 2.0.0: output 'y' element 0 is 16.000000, expected 16.100000 within "
                "0.001000");
  const auto use = (*handle)->acquire();
  ASSERT_TRUE(use) << use.error().message;
  EXPECT_EQ(use->receipt.version, "1.0.0");
  EXPECT_TRUE(use->receipt.fallback) << "never unmarked (M6)";
  EXPECT_EQ(sum(**handle), 3);
  EXPECT_TRUE(comes_to([&] { return !edge_.commands("TL.HEALTH detector 2.0.0 SICK").empty(); }))
      << "the gates of its rollout hear of it";

  point_at("3.0.0", place("3.0.0", model_of(20), 26.1f, 20'000), Index{9});
  ASSERT_TRUE(comes_to([&] { return (*handle)->acquire()->receipt.version == "3.0.0"; }))
      << "within the tolerance that it declares: " << (*handle)->problem();
  EXPECT_EQ(sum(**handle), 23);
  EXPECT_EQ((*handle)->problem(), "");
  const auto swaps = (*handle)->take_swaps();
  ASSERT_EQ(swaps.size(), 2u);
  EXPECT_EQ(swaps[1].version, "3.0.0") << "2.0.0 was in use for no frame";
}

TEST_P(ModelGoldenTest, ADamagedGoldenFileIsNoFaultOfTheEngine) {  // X3
  point_at("1.0.0", place("1.0.0", model_of(0), 6, 1'000), Index{7});
  const std::string file = edge_.run_dir() + "/models/detector/1.0.0/golden/a/x";
  write(file, f32({1, 2, 4}));
  std::string said;
  for (std::int64_t timeout_ms = 25; timeout_ms < 20'000 && said.find(file) == std::string::npos; timeout_ms *= 2) {
    const auto handle = open(timeout_ms);
    ASSERT_FALSE(handle);
    said = handle.error().message;
  }
  EXPECT_EQ(said, "model 'detector' has no version in force that this gateway has verified: " + file +
                      " does not hash to what its manifest says");
  EXPECT_TRUE(edge_.commands("TL.HEALTH detector 1.0.0 SICK").empty());
  write(file, f32({1, 2, 3}));
  EXPECT_TRUE(open());
}

}  // namespace
}  // namespace tidelock
