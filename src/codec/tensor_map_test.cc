#include "codec/tensor_map.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "codec/model_file_fixture.h"

namespace tidelock {
namespace {

using namespace model_files;

const Bytes kFour = "abcdefgh12345678";  // four float32, eight float16
std::vector<Tensor> two() {
  return {{"conv.weight", ElementType::kF32, kFour}, {"conv.bias", ElementType::kF16, "wxyz"}};
}
std::string bytes_of(BytesView file, const TensorRange& tensor) {
  return std::string(file.substr(static_cast<std::size_t>(tensor.offset), static_cast<std::size_t>(tensor.size_bytes)));
}

// M1: the tensor map.
TEST(TensorMap, FindsTheSameTensorsInBothFormats) {
  struct Case {
    const char* why;
    Bytes file;
    ModelFormat format;
  };
  const Case cases[] = {{"ONNX", onnx(two()), ModelFormat::kOnnx},
                        {"safetensors", safetensors(two()), ModelFormat::kSafetensors}};
  for (const Case& c : cases) {
    const TensorMap map = map_tensors(c.file);
    ASSERT_EQ(map.format, c.format) << c.why;
    ASSERT_EQ(map.tensors.size(), 2u) << c.why;
    EXPECT_EQ(map.tensors[0].name, "conv.weight") << c.why;
    EXPECT_EQ(map.tensors[0].type, ElementType::kF32) << c.why;
    EXPECT_EQ(map.tensors[0].shape, (std::vector<std::int64_t>{4})) << c.why;
    EXPECT_EQ(bytes_of(c.file, map.tensors[0]), kFour) << c.why;
    EXPECT_EQ(map.tensors[1].type, ElementType::kF16) << c.why;
    EXPECT_EQ(bytes_of(c.file, map.tensors[1]), "wxyz") << c.why;
  }
}

TEST(TensorMap, AnythingElseIsOneRunOfBytes) {
  for (const Bytes& file : {Bytes(), Bytes("hello"), Bytes(100, '\0'), Bytes("\x89PNG\r\n\x1A\n and so on")}) {
    const TensorMap map = map_tensors(file);
    EXPECT_EQ(map.format, ModelFormat::kUnknown);
    EXPECT_TRUE(map.tensors.empty());
  }
}

TEST(OnnxTensors, AreFoundWhereverTheFormatPutsThem) {
  const Bytes raw = onnx_tensor({"t", ElementType::kI8, "1234"});
  const Bytes unnamed = number_field(1, 4) + number_field(2, 3) + bytes_field(9, "1234");
  const auto node = [](const Bytes& attribute) {
    return bytes_field(1, bytes_field(2, "out") + bytes_field(4, "Constant") + bytes_field(5, attribute));
  };
  const auto model = [](const Bytes& graph) { return bytes_field(7, graph); };
  struct Case {
    const char* why;
    Bytes file;
    std::string name, bytes;
  };
  const Case cases[] = {
      {"an initializer", model(bytes_field(5, raw)), "t", "1234"},
      {"a constant", model(node(bytes_field(5, raw))), "t", "1234"},
      {"a constant that has its node's name", model(node(bytes_field(5, unnamed))), "out", "1234"},
      {"in a list of an attribute", model(node(bytes_field(10, raw))), "t", "1234"},
      {"in the graph of a branch", model(node(bytes_field(6, bytes_field(5, raw)))), "t", "1234"},
      {"in one of several graphs", model(node(bytes_field(11, bytes_field(5, raw)))), "t", "1234"},
      {"the values of a sparse one", model(bytes_field(15, bytes_field(1, raw))), "t", "1234"},
      {"in a function", bytes_field(7, "") + bytes_field(25, bytes_field(7, bytes_field(5, bytes_field(5, raw)))), "t",
       "1234"},
      {"floats in their typed field",
       model(bytes_field(5, number_field(2, 1) + bytes_field(8, "f") + bytes_field(4, "12345678"))), "f", "12345678"},
  };
  for (const Case& c : cases) {
    const auto map = parse_onnx_tensors(c.file);
    ASSERT_TRUE(map) << c.why << ": " << map.error().message;
    ASSERT_EQ(map->tensors.size(), 1u) << c.why;
    EXPECT_EQ(map->tensors[0].name, c.name) << c.why;
    EXPECT_EQ(bytes_of(c.file, map->tensors[0]), c.bytes) << c.why;
  }
}

TEST(OnnxTensors, WhatIsNoOneRangeIsLeftOut) {
  const auto model = [](const Bytes& tensor) { return bytes_field(7, bytes_field(5, tensor)); };
  struct Case {
    const char* why;
    Bytes file;
  };
  const Case cases[] = {
      {"varints in int32_data", model(number_field(2, 6) + bytes_field(5, "\x01\x02"))},
      {"floats in two parts", model(number_field(2, 1) + bytes_field(4, "1234") + bytes_field(4, "5678"))},
      {"stored in another file", model(number_field(2, 1) + bytes_field(13, "x") + number_field(14, 1))},
      {"of no elements", model(number_field(1, 0) + number_field(2, 1) + bytes_field(9, ""))},
  };
  for (const Case& c : cases) {
    const auto map = parse_onnx_tensors(c.file);
    ASSERT_TRUE(map) << c.why;
    EXPECT_TRUE(map->tensors.empty()) << c.why;
  }
  const auto odd = parse_onnx_tensors(model(number_field(2, 1) + bytes_field(9, "12345")));
  ASSERT_TRUE(odd);
  EXPECT_EQ(odd->tensors[0].type, ElementType::kOpaque) << "five bytes are no float32";
}

TEST(OnnxTensors, BrokenFilesAreRefused) {
  Bytes nested = bytes_field(5, onnx_tensor({"t", ElementType::kI8, "1"}));
  for (int i = 0; i < kTensorMapDepthMax; ++i) nested = bytes_field(1, bytes_field(5, bytes_field(6, nested)));
  Bytes many_dims;
  for (std::size_t i = 0; i <= kTensorMapRankMax; ++i) many_dims += number_field(1, 2);
  const auto model = [](const Bytes& graph) { return bytes_field(7, graph); };
  struct Case {
    const char* why;
    Bytes file;
    std::string says;
  };
  const Case cases[] = {
      {"no graph", bytes_field(2, "producer"), "no graph"},
      {"a length behind the end", Bytes("\x3A\xFF\xFF\xFF\xFF\x0F", 6), "truncated"},
      {"a graph that is not a message", model("\x07"), "a graph is truncated"},
      {"a tensor that is not a message", model(bytes_field(5, "\x4A\x7F")), "a tensor is truncated"},
      {"a node that is not a message", model(bytes_field(1, "\x0B")), "a node is truncated"},
      {"an attribute that is not a message", model(bytes_field(1, bytes_field(5, "\x0B"))),
       "an attribute is truncated"},
      {"a sparse tensor that is not a message", model(bytes_field(15, "\x0B")), "a sparse tensor is truncated"},
      {"a function that is not a message", model("") + bytes_field(25, "\x0B"), "a function is truncated"},
      {"graphs in graphs without end", model(nested), "nested more than"},
      {"too many dimensions", model(bytes_field(5, many_dims)), "dimensions"},
      {"too many dimensions, packed", model(bytes_field(5, bytes_field(1, Bytes(kTensorMapRankMax + 1, '\2')))),
       "dimensions"},
      {"a name of two kilobytes", model(bytes_field(5, bytes_field(8, Bytes(2048, 'n')) + bytes_field(9, "1"))),
       "name of 2048"},
  };
  for (const Case& c : cases) {
    const auto map = parse_onnx_tensors(c.file);
    ASSERT_FALSE(map) << c.why;
    EXPECT_EQ(map.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(map.error().message.find(c.says), std::string::npos) << c.why << ": " << map.error().message;
  }
}

TEST(OnnxTensors, HaveALimit) {
  Bytes graph;
  const Bytes one = bytes_field(5, bytes_field(9, "1"));
  for (std::size_t i = 0; i < kTensorMapTensorsMax; ++i) graph += one;
  EXPECT_EQ(parse_onnx_tensors(bytes_field(7, graph))->tensors.size(), kTensorMapTensorsMax);
  const auto refused = parse_onnx_tensors(bytes_field(7, graph + one));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("more than 65536"), std::string::npos);
}

TEST(Safetensors, HeadersAsOthersWriteThem) {
  struct Case {
    const char* why;
    std::string header;
    std::size_t tensors;
  };
  const Case cases[] = {
      {"nothing in it", "{}", 0},
      {"only words about it", R"({"__metadata__":{"a":"b","c":"d"}})", 0},
      {"spaces for alignment behind it", R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}}    )", 1},
      {"spaces everywhere",
       " { \"a\" :\n{ \"shape\" : [ 2 , 2 ] , \"dtype\" : \"I8\" , \"data_offsets\" : [ 0 , 4 ] } } ", 1},
      {"a scalar", R"({"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}})", 1},
      {"of no elements", R"({"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}})", 0},
      {"a type of a later day", R"({"a":{"dtype":"F4","shape":[8],"data_offsets":[0,4]}})", 1},
      {"a field of a later day",
       R"({"a":{"dtype":"I8","shape":[4],"data_offsets":[0,4],"x":{"y":[1.5,-2e3,true,null]}}})", 1},
      {"an escaped name", R"({"a\"\\\n\u00e9":{"dtype":"I8","shape":[4],"data_offsets":[0,4]}})", 1},
      {"not in the order of the data",
       R"({"b":{"dtype":"I8","shape":[2],"data_offsets":[2,4]},"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]}})",
       2},
  };
  for (const Case& c : cases) {
    const auto map = parse_safetensors(safetensors_of(c.header, "1234"));
    ASSERT_TRUE(map) << c.why << ": " << map.error().message;
    EXPECT_EQ(map->tensors.size(), c.tensors) << c.why;
    for (std::size_t i = 1; i < map->tensors.size(); ++i) EXPECT_LT(map->tensors[i - 1].offset, map->tensors[i].offset);
  }
}

TEST(Safetensors, BrokenFilesAreRefused) {
  const std::string deep(2 * kTensorMapDepthMax, '[');
  const auto one = [](const std::string& fields) { return "{\"a\":{" + fields + "}}"; };
  struct Case {
    const char* why;
    Bytes file;
    std::string says;
  };
  const std::string name(kTensorMapNameBytesMax + 1, 'n');
  const Case cases[] = {
      {"shorter than its length", "1234", "a header of"},
      {"a header behind the end", Bytes("\x10\0\0\0\0\0\0\0{}", 10), "a header of 16 bytes"},
      {"a header without end", Bytes(8, '\xFF') + "{}", "a header of"},
      {"no object", safetensors_of("[]", ""), "not the JSON"},
      {"an object cut off", safetensors_of("{\"a\":{", ""), "not the JSON"},
      {"bytes behind the object", safetensors_of("{} x", ""), "not the JSON"},
      {"a string cut off", safetensors_of("{\"a", ""), "not the JSON"},
      {"an escape that is none", safetensors_of(R"({"\x":1})", ""), "not the JSON"},
      {"nested without end", safetensors_of("{\"__metadata__\":" + deep, ""), "not the JSON"},
      {"a number below zero", safetensors_of(one(R"("dtype":"I8","shape":[-1],"data_offsets":[0,1])"), "1"),
       "not the JSON"},
      {"a number of 80 bits",
       safetensors_of(one(R"("dtype":"I8","shape":[1],"data_offsets":[0,99999999999999999999999])"), "1"),
       "not the JSON"},
      {"behind the data", safetensors_of(one(R"("dtype":"I8","shape":[2],"data_offsets":[0,2])"), "1"),
       "data_offsets [0, 2] in 1"},
      {"begins behind its end", safetensors_of(one(R"("dtype":"I8","shape":[2],"data_offsets":[2,0])"), "12"),
       "data_offsets [2, 0]"},
      {"three offsets", safetensors_of(one(R"("dtype":"I8","shape":[1],"data_offsets":[0,1,2])"), "12"), "two numbers"},
      {"no offsets", safetensors_of(one(R"("dtype":"I8","shape":[1])"), "12"), "two numbers"},
      {"bytes that do not fit the shape",
       safetensors_of(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), "1234"), "do not fit"},
      {"a shape beyond 64 bits",
       safetensors_of(one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4])"), "1234"),
       "do not fit"},
      {"a long name", safetensors_of("{\"" + name + R"(":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}})", "1"),
       "a name of"},
      {"a name twice",
       safetensors_of(
           R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"I8","shape":[1],"data_offsets":[1,2]}})",
           "12"),
       "named twice"},
      {"an overlap",
       safetensors_of(
           R"({"a":{"dtype":"I8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"I8","shape":[2],"data_offsets":[1,3]}})",
           "123"),
       "overlaps"},
  };
  for (const Case& c : cases) {
    const auto map = parse_safetensors(c.file);
    ASSERT_FALSE(map) << c.why;
    EXPECT_EQ(map.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(map.error().message.find(c.says), std::string::npos) << c.why << ": " << map.error().message;
  }
}

TEST(Safetensors, HaveALimit) {
  std::string header = "{";
  for (std::size_t i = 0; i <= kTensorMapTensorsMax; ++i) {
    header += (i == 0 ? "\"" : ",\"") + std::to_string(i) + R"(":{"dtype":"I8","shape":[1],"data_offsets":[)" +
              std::to_string(i) + "," + std::to_string(i + 1) + "]}";
  }
  const auto refused = parse_safetensors(safetensors_of(header + "}", Bytes(kTensorMapTensorsMax + 1, 'x')));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("more than 65536"), std::string::npos) << refused.error().message;
}

}  // namespace
}  // namespace tidelock
