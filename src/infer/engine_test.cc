// The same small model in every engine of this machine.
#include "infer/engine.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <opencv2/core.hpp>
#include <thread>

#include "base/rng.h"
#include "infer/engines_internal.h"
#include "infer/onnx_file.h"

namespace tidelock {
namespace {

// signature = W * mean(images) + B (1x2 from 1x3x4x4), edges = conv(images), both outputs of one graph.
Bytes small_model(float bias = 5.0f) {
  OnnxBuilder b;
  const std::int64_t images[] = {1, 3, 4, 4}, edges[] = {1, 2, 4, 4}, signature[] = {1, 2};
  b.input("images", images);
  b.output("edges", edges);
  b.output("signature", signature);
  const std::int64_t w_shape[] = {2, 3}, b_shape[] = {2}, k_shape[] = {2, 3, 3, 3};
  const float w[] = {1, 0, 0, 0, 2, 0}, bias_values[] = {bias, -1};
  b.weights("W", w_shape, w);
  b.weights("B", b_shape, bias_values);
  Rng rng(1);
  std::vector<float> kernel;
  for (int i = 0; i < 54; ++i) kernel.push_back(static_cast<float>(rng.below(200)) / 100.0f - 1.0f);
  b.weights("K", k_shape, kernel);
  b.node("GlobalAveragePool", {"images"}, {"mean"});
  b.node("Flatten", {"mean"}, {"flat"}, {onnx_int("axis", 1)});
  b.node("Gemm", {"flat", "W", "B"}, {"signature"}, {onnx_int("transB", 1)});
  b.node("Conv", {"images", "K"}, {"edges"}, {onnx_ints("kernel_shape", {3, 3}), onnx_ints("pads", {1, 1, 1, 1})});
  return b.finish("small");
}
Tensor images(float value = 0.5f) { return {"images", {1, 3, 4, 4}, std::vector<float>(48, value)}; }

class EachEngine : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    auto opened = open_engine({GetParam(), ""});
    if (!opened) {
      ASSERT_STRNE(GetParam(), "opencv") << opened.error().message;
      EXPECT_EQ(opened.error().code, Code::kUnavailable);
      GTEST_SKIP() << opened.error().message;
    }
    engine_ = std::move(*opened);
  }
  std::unique_ptr<Engine> engine_;
};
INSTANTIATE_TEST_SUITE_P(Engines, EachEngine, ::testing::Values("opencv", "onnxruntime"),
                         [](const auto& test) { return test.param; });

TEST_P(EachEngine, GivesAllOutputsByName) {
  const auto model = engine_->load(small_model());
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_EQ((*model)->outputs().size(), 2u);
  EXPECT_EQ((*model)->outputs()[0].name, "edges");
  EXPECT_EQ((*model)->inputs()[0].shape, (std::vector<std::int64_t>{1, 3, 4, 4}));
  const Tensor input = images(0.25f);
  const TensorView views[] = {input.view()};
  for (int again = 0; again < 2; ++again) {
    const auto outputs = (*model)->run(views);
    ASSERT_TRUE(outputs) << outputs.error().message;
    const Tensor* signature = find_tensor(*outputs, "signature");
    ASSERT_NE(signature, nullptr);
    EXPECT_EQ(signature->shape, (std::vector<std::int64_t>{1, 2}));
    EXPECT_NEAR(signature->values[0], 5.25, 1e-5);
    EXPECT_NEAR(signature->values[1], -0.5, 1e-5);
    EXPECT_EQ(find_tensor(*outputs, "edges")->shape, (std::vector<std::int64_t>{1, 2, 4, 4}));
    EXPECT_EQ(find_tensor(*outputs, "absent"), nullptr);
  }
}

TEST_P(EachEngine, KeepsModelsApart) {  // M10: the old and the new version side by side, the engine gone
  auto old_model = *engine_->load(small_model(1));
  auto new_model = *engine_->load(small_model(2));
  engine_.reset();
  const Tensor input = images(0);
  float got[2] = {0, 0};
  const auto score = [&input](Model& model, float& result) {
    const TensorView views[] = {input.view()};
    for (int i = 0; i < 20; ++i) {
      const auto outputs = model.run(views);
      result = outputs ? find_tensor(*outputs, "signature")->values[0] : -1;
    }
  };
  std::thread other(score, std::ref(*old_model), std::ref(got[0]));
  score(*new_model, got[1]);
  other.join();
  EXPECT_NEAR(got[0], 1, 1e-5);
  EXPECT_NEAR(got[1], 2, 1e-5);
}

TEST_P(EachEngine, RefusesInputsThatDoNotFit) {
  const auto model = *engine_->load(small_model());
  const Tensor good = images();
  struct Case {
    const char* why;
    std::vector<Tensor> inputs;
    const char* message;
  };
  const Case cases[] = {
      {"none", {}, "0 inputs given"},
      {"two", {good, good}, "2 inputs given"},
      {"another name", {{"image", good.shape, good.values}}, "no input 'images'"},
      {"another rank", {{"images", {3, 4, 4}, good.values}}, "wants 1x3x4x4"},
      {"another extent", {{"images", {1, 3, 8, 2}, good.values}}, "wants 1x3x4x4"},
      {"no shape", {{"images", {}, good.values}}, "scalar"},
      {"too few values", {{"images", good.shape, std::vector<float>(47)}}, "needs 48"},
  };
  for (const Case& c : cases) {
    std::vector<TensorView> views;
    for (const Tensor& tensor : c.inputs) views.push_back(tensor.view());
    const auto refused = model->run(views);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kInvalid) << c.why;
    EXPECT_NE(refused.error().message.find(c.message), std::string::npos) << c.why << ": " << refused.error().message;
  }
  const TensorView views[] = {good.view()};
  EXPECT_TRUE(model->run(views)) << "after refusals";
}

TEST(Inputs, OfAnyExtentAreHeldToWhatATensorMayBe) {
  const std::vector<ModelPort> any = {{"x", {-1, -1}}};
  struct Case {
    const char* why;
    std::vector<std::int64_t> shape;
    const char* message;
  };
  const Case cases[] = {
      {"nothing", {1, 0}, "run: input 'x' has an extent of 0; each must be 1 to 67108864"},
      {"less than nothing", {-1, -48}, "run: input 'x' has an extent of -1; each must be 1 to 67108864"},
      {"too long", {1, 67'108'865}, "run: input 'x' has an extent of 67108865; each must be 1 to 67108864"},
      {"too many in all", {8'193, 8'192}, "run: input 'x' of shape 8193x8192 has more than 67108864 elements"},
      {"more than a number holds",
       {67'108'864, 67'108'864},
       "run: input 'x' of shape 67108864x67108864 has more than 67108864 elements"},
  };
  for (const Case& c : cases) {
    const TensorView views[] = {{"x", c.shape, {}}};
    const auto refused = check_inputs(any, views);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kInvalid) << c.why;
    EXPECT_EQ(refused.error().message, c.message);
  }
}

TEST_P(EachEngine, RefusesBytesThatAreNoModel) {
  const Bytes whole = small_model();
  OnnxBuilder unknown;
  const std::int64_t shape[] = {1, 2};
  unknown.input("x", shape);
  unknown.output("y", shape);
  unknown.node("NoSuchOperator", {"x"}, {"y"});
  OnnxBuilder dangling;
  dangling.input("x", shape);
  dangling.output("y", shape);
  dangling.node("Relu", {"nowhere"}, {"y"});
  struct Case {
    const char* why;
    Bytes bytes;
  };
  const Case cases[] = {{"0 B", ""},
                        {"text", "this is not a model, it is a sentence"},
                        {"zeros", Bytes(10'000, '\0')},
                        {"an operator nobody knows", unknown.finish("g")},
                        {"a node that reads what nobody writes", dangling.finish("g")},
                        {"an empty graph", OnnxBuilder().finish("g")}};
  for (const Case& c : cases) {
    const auto refused = engine_->load(c.bytes);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.why << ": " << refused.error().message;
    EXPECT_FALSE(refused.error().message.empty()) << c.why;
  }
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(engine_->load(BytesView(whole).substr(0, size))) << "cut to " << size;
  }
}

TEST_P(EachEngine, LoadsFromAFile) {
  std::string path = (std::filesystem::temp_directory_path() / "tidelock-infer-XXXXXX").string();
  const int fd = ::mkstemp(path.data());
  ASSERT_GE(fd, 0);
  ::close(fd);
  EXPECT_EQ(engine_->load_file(path).error().code, Code::kCorrupt) << "0 B";
  std::ofstream(path, std::ios::binary) << small_model();
  EXPECT_TRUE(engine_->load_file(path));
  std::filesystem::resize_file(path, 100);
  const auto truncated = engine_->load_file(path);
  ASSERT_FALSE(truncated);
  EXPECT_EQ(truncated.error().code, Code::kCorrupt);
  EXPECT_NE(truncated.error().message.find(path), std::string::npos);
  std::filesystem::remove(path);
  EXPECT_EQ(engine_->load_file(path).error().code, Code::kNotFound);
  EXPECT_EQ(engine_->load_file("/").error().code, Code::kCorrupt);
}

// ----------------------------------------------------------------------------------------------------------- golden

Bytes f32(std::vector<float> values) {
  Bytes out(values.size() * 4, '\0');
  std::memcpy(out.data(), values.data(), out.size());
  return out;
}
Manifest golden_manifest(std::vector<float> expected) {
  Manifest manifest;
  manifest.name = "small";
  manifest.version = "1.0.0";
  manifest.files = {{"model.onnx", FileRole::kModel, 1, Bytes(32, 'x')},
                    {"golden/in", FileRole::kGolden, 192, Bytes(32, 'x')}};
  manifest.golden = {{{{{"images", TensorType::kF32, {1, 3, 4, 4}}, "golden/in", {}}},
                      {{{"signature", TensorType::kF32, {1, 2}}, "", f32(std::move(expected))}},
                      1000}};
  return manifest;
}
Result<Bytes> read_golden(const ManifestFile&) { return f32(std::vector<float>(48, 0.25f)); }

TEST_P(EachEngine, HoldsAModelToItsGoldenOutputs) {  // M4
  const auto model = *engine_->load(small_model());
  EXPECT_TRUE(verify_golden(golden_manifest({5.25f, -0.5f}), *model, read_golden));
  EXPECT_TRUE(verify_golden(golden_manifest({5.252f, -0.5f}), *model, read_golden)) << "within the tolerance";

  struct Case {
    const char* why;
    Manifest manifest;
    ReadReleaseFile read;
    const char* message;
  };
  Manifest other_name = golden_manifest({5.25f, -0.5f});
  other_name.golden[0].outputs[0].tensor.name = "detections";
  Manifest other_shape = golden_manifest({5.25f, -0.5f});
  other_shape.golden[0].outputs[0].tensor.shape = {2, 1};
  const Case cases[] = {
      {"another number", golden_manifest({5.25f, -0.49f}), read_golden, "element 1"},
      {"not a number", golden_manifest({5.25f, std::numeric_limits<float>::quiet_NaN()}), read_golden, "element 1"},
      {"an output it does not have", other_name, read_golden, "no output 'detections'"},
      {"an output of another shape", other_shape, read_golden, "expected 2x1"},
      {"a golden file that is gone", golden_manifest({5.25f, -0.5f}),
       [](const ManifestFile&) -> Result<Bytes> { return fail(Code::kCorrupt, "gone"); }, "gone"},
      {"a golden file that is short", golden_manifest({5.25f, -0.5f}),
       [](const ManifestFile&) -> Result<Bytes> { return Bytes("1234"); }, "needs 192"},
  };
  for (const Case& c : cases) {
    const auto refused = verify_golden(c.manifest, *model, c.read);
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(refused.error().message.find("golden case 0 of small 1.0.0"), std::string::npos) << c.why;
    EXPECT_NE(refused.error().message.find(c.message), std::string::npos) << c.why << ": " << refused.error().message;
  }
  const auto other_weights = *engine_->load(small_model(5.1f));
  EXPECT_FALSE(verify_golden(golden_manifest({5.25f, -0.5f}), *other_weights, read_golden))
      << "the model of another version";
}

TEST_P(EachEngine, HoldsAModelToGoldenFilesOfEachType) {  // M4
  const auto model = *engine_->load(small_model(5'000));
  // images of 1: signature is 5001 and 1
  Manifest manifest = golden_manifest({});
  GoldenTensor& in = manifest.golden[0].inputs[0];
  GoldenTensor& out = manifest.golden[0].outputs[0];
  struct Case {
    const char* why;
    TensorType type;
    Bytes image, expected;
    std::string says;  // empty: holds
  };
  const Case cases[] = {
      {"float32", TensorType::kF32, f32({1}), f32({5'001, 1}), ""},
      {"uint8, and 5001 is none", TensorType::kU8, Bytes(1, 1), Bytes("\xFF\1", 2), "element 0 is 5001"},
      {"int64", TensorType::kI64, Bytes("\1\0\0\0\0\0\0\0", 8), Bytes("\x89\x13\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16), ""},
      {"int64 beside the class, which a relative tolerance would take", TensorType::kI64, Bytes("\1\0\0\0\0\0\0\0", 8),
       Bytes("\x8A\x13\0\0\0\0\0\0\1\0\0\0\0\0\0\0", 16), "element 0 is 5001"},
      {"int64 that float32 does not hold", TensorType::kI64, Bytes("\1\0\0\0\0\0\0\0", 8),
       Bytes("\1\0\0\1\0\0\0\0\1\0\0\0\0\0\0\0", 16), "element 0 is 16777217, which float32 does not hold"},
      {"float16, where 5001 is 5000", TensorType::kF16, Bytes("\0\x3C", 2), Bytes("\xE2\x6C\0\x3C", 4), ""},
  };
  for (const Case& c : cases) {
    in.tensor.type = out.tensor.type = c.type;
    out.inline_values = c.expected;
    const auto held = verify_golden(manifest, *model, [&](const ManifestFile&) -> Result<Bytes> {
      Bytes all;
      for (int i = 0; i < 48; ++i) all += c.image;
      return all;
    });
    EXPECT_EQ(held.has_value(), c.says.empty()) << c.why << (held ? "" : ": " + held.error().message);
    if (held) continue;
    EXPECT_EQ(held.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(held.error().message.find(c.says), std::string::npos) << c.why << ": " << held.error().message;
  }
}

TEST_P(EachEngine, TakesAndGivesNumbersInTheTypeOfAPort) {
  constexpr std::pair<TensorType, std::int64_t> kTypes[] = {// and their numbers in ONNX
                                                            {TensorType::kF32, 1},
                                                            {TensorType::kU8, 2},
                                                            {TensorType::kI64, 7},
                                                            {TensorType::kF16, 10}};
  const std::int64_t shape[] = {1, 2};
  for (const auto& [type, number] : kTypes) {
    OnnxBuilder b;
    b.input("x", shape, type);
    b.output("y", shape, type);
    b.node("Cast", {"x"}, {"a"}, {onnx_int("to", 1)});
    b.node("Relu", {"a"}, {"b"});
    b.node("Cast", {"b"}, {"y"}, {onnx_int("to", number)});
    const auto model = engine_->load(b.finish("typed"));
    ASSERT_TRUE(model) << tensor_type_name(type) << ": " << model.error().message;
    EXPECT_EQ((*model)->inputs()[0].type, type);
    EXPECT_EQ((*model)->outputs()[0].type, type);
    const std::vector<float> values{3, 200}, half{0.5f, 1};
    const TensorView good[] = {{"x", shape, values}}, fraction[] = {{"x", shape, half}};
    const auto outputs = (*model)->run(good);
    ASSERT_TRUE(outputs) << tensor_type_name(type) << ": " << outputs.error().message;
    EXPECT_EQ(outputs->at(0).values, values) << tensor_type_name(type);
    const auto other = (*model)->run(fraction);
    const bool whole = type == TensorType::kU8 || type == TensorType::kI64;
    ASSERT_EQ(other.has_value(), !whole) << tensor_type_name(type) << (other ? "" : ": " + other.error().message);
    if (whole) {
      EXPECT_EQ(other.error().code, Code::kInvalid) << tensor_type_name(type);
    } else {
      EXPECT_EQ(other->at(0).values, half) << tensor_type_name(type);
    }
  }
}

// ---------------------------------------------------------------------------------------------------------- engines

TEST(Engines, SayWhatIsThereAndWhyNot) {
  const auto list = engines({"", "/nowhere/libonnxruntime.so"});
  ASSERT_EQ(list.size(), 2u);
  EXPECT_EQ(list[0].name, "opencv");
  EXPECT_TRUE(list[0].available);
  EXPECT_FALSE(list[0].detail.empty());
  EXPECT_EQ(list[1].name, "onnxruntime");
  EXPECT_FALSE(list[1].available);
  EXPECT_NE(list[1].detail.find("onnxruntime: "), std::string::npos);

  EXPECT_EQ(open_engine({"tensorflow", ""}).error().code, Code::kInvalid);
  EXPECT_EQ(open_engine({"onnxruntime", "/nowhere/libonnxruntime.so"}).error().code, Code::kUnavailable);
  EXPECT_EQ((*open_engine({"", "/nowhere/libonnxruntime.so"}))->name(), "opencv") << "the one that is always there";
}

TEST(Opencv, AnOutputThatNoNodeGivesIsNamed) {
  OnnxBuilder b;
  const std::int64_t shape[] = {1, 2};
  b.input("x", shape);
  b.output("y", shape);
  b.node("Relu", {"x"}, {"z"});
  const auto refused = make_opencv_engine()->load(b.finish("g"));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_EQ(refused.error().message, "opencv: load: no layer gives output 'y'; name the node after its output");
}

// OpenCV itself throws cv::Exception; under it are containers and other libraries. It calls back before it throws, and
// what that throws takes the same way.
TEST(Opencv, WhateverIsThrownInsideEndsAtTheRoomsEdge) {
  OnnxBuilder b;
  const std::int64_t shape[] = {1, 2};
  b.input("x", shape);
  b.output("y", shape);
  b.node("NoSuchOperator", {"x"}, {"y"});
  const Bytes bad = b.finish("g");
  struct Case {
    const char* message;
    cv::ErrorCallback on_error;
  };
  const Case cases[] = {
      {"opencv: load: out of room",
       [](int, const char*, const char*, const char*, int, void*) -> int { throw std::runtime_error("out of room"); }},
      {"opencv: load: unknown exception",
       [](int, const char*, const char*, const char*, int, void*) -> int { throw 7; }},
  };
  const auto engine = make_opencv_engine();
  for (const Case& c : cases) {
    const cv::ErrorCallback before = cv::redirectError(c.on_error);
    const auto refused = engine->load(bad);
    cv::redirectError(before);
    ASSERT_FALSE(refused) << c.message;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.message;
    EXPECT_EQ(refused.error().message, c.message);
  }
  EXPECT_TRUE(engine->load(small_model())) << "after both";
}

TEST(Engines, Agree) {
  const auto onnxruntime = open_engine({"onnxruntime", ""});
  if (!onnxruntime) GTEST_SKIP() << onnxruntime.error().message;
  const auto opencv = open_engine({"opencv", ""});
  Tensor input = images();
  Rng rng(7);
  for (float& value : input.values) value = static_cast<float>(rng.below(1000)) / 1000.0f;
  const TensorView views[] = {input.view()};
  const auto one = (*(*onnxruntime)->load(small_model()))->run(views),
             two = (*(*opencv)->load(small_model()))->run(views);
  ASSERT_TRUE(one && two);
  for (std::size_t t = 0; t < one->size(); ++t) {
    ASSERT_EQ((*one)[t].values.size(), (*two)[t].values.size());
    for (std::size_t i = 0; i < (*one)[t].values.size(); ++i)
      EXPECT_NEAR((*one)[t].values[i], (*two)[t].values[i], 1e-4);
  }
}

TEST(OnnxScan, RefusesMoreBytesThanTheFormatHolds) {
  const std::size_t size = (2ull << 30) + 1;  // never touched, so none of it is memory
  void* at = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(at, MAP_FAILED);
  const auto refused = scan_onnx(BytesView(static_cast<const char*>(at), size));
  ::munmap(at, size);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kCorrupt);
  EXPECT_EQ(refused.error().message, "onnx: 2147483649 bytes; at most 2147483648");
}

TEST(OnnxScan, FindsPortsAndSurvivesAnyByte) {
  const Bytes whole = small_model();
  const auto ports = scan_onnx(whole);
  ASSERT_TRUE(ports) << ports.error().message;
  ASSERT_EQ(ports->inputs.size(), 1u) << "initializers are no inputs";
  EXPECT_EQ(ports->inputs[0].name, "images");
  EXPECT_EQ(ports->outputs[1].name, "signature");
  Rng rng(99);
  for (int round = 0; round < 20'000; ++round) {
    Bytes spoilt = whole.substr(0, 1 + rng.below(whole.size()));
    for (std::uint64_t n = rng.below(8); n > 0; --n) spoilt[rng.below(spoilt.size())] = static_cast<char>(rng.next());
    const auto scanned = scan_onnx(spoilt);  // no crash, and ports only of a sane shape
    if (!scanned) continue;
    for (const ModelPort& port : scanned->inputs) ASSERT_LE(port.shape.size(), kTensorRankMax);
  }
}

}  // namespace
}  // namespace tidelock
