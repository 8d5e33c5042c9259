// Model files of a publisher, or of whoever got at the disk: both parsers and the choice between them. What a map says
// lies inside the file, in order, apart, and within the limits; a numeric tensor is whole numbers.
#include "codec/model_file_fixture.h"
#include "codec/tensor_map.h"
#include "fuzz/fuzz.h"

namespace tidelock::fuzz {
namespace {

using namespace model_files;

void check(BytesView file, const Result<TensorMap>& map, ModelFormat format) {
  if (!map) {
    TIDELOCK_ASSERT(map.error().code == Code::kCorrupt && !map.error().message.empty());
    return;
  }
  TIDELOCK_ASSERT(map->format == format && map->tensors.size() <= kTensorMapTensorsMax);
  std::uint64_t at = 0;
  for (const TensorRange& tensor : map->tensors) {
    TIDELOCK_ASSERT(tensor.size_bytes > 0 && tensor.offset >= at && tensor.offset <= file.size());
    TIDELOCK_ASSERT(tensor.size_bytes <= file.size() - tensor.offset);
    TIDELOCK_ASSERT(tensor.size_bytes % element_bytes(tensor.type) == 0);
    TIDELOCK_ASSERT(tensor.name.size() <= kTensorMapNameBytesMax && tensor.shape.size() <= kTensorMapRankMax);
    at = tensor.offset + tensor.size_bytes;
  }
}

}  // namespace

std::vector<Seed> seeds() {
  const std::vector<Tensor> tensors = {{"conv.weight", ElementType::kF32, "abcdefgh12345678"},
                                       {"conv.bias", ElementType::kF16, "wxyz"},
                                       {"steps", ElementType::kOpaque, "12345678"}};
  const Bytes graph = onnx_graph(tensors);
  const Bytes branch =
      bytes_field(1, bytes_field(2, "y") + bytes_field(4, "If") + bytes_field(5, bytes_field(6, graph)));
  const Bytes floats = bytes_field(5, number_field(2, 1) + bytes_field(1, "\x01\x02") + bytes_field(4, "12345678"));
  return {
      {"onnx", onnx(tensors)},
      {"branch", bytes_field(7, graph + branch)},
      {"typed", bytes_field(7, floats)},
      {"function",
       bytes_field(7, "") + bytes_field(25, bytes_field(7, bytes_field(5, bytes_field(5, onnx_tensor(tensors[0])))))},
      {"sparse", bytes_field(7, bytes_field(15, bytes_field(1, onnx_tensor(tensors[1]))))},
      {"safetensors", safetensors(tensors)},
      {"spaces",
       safetensors_of(
           " {\"a\\\"\\u00e9\" :{ \"x\":[1.5,null,{}], \"shape\":[2, 1],\"dtype\":\"I8\",\"data_offsets\":[0 ,2]}}  ",
           "12")},
      {"empty", ""}};
}

void run(BytesView input) {
  check(input, parse_onnx_tensors(input), ModelFormat::kOnnx);
  const auto safetensors_map = parse_safetensors(input);
  check(input, safetensors_map, ModelFormat::kSafetensors);
  const TensorMap any = map_tensors(input);
  check(input, any, any.format);
  if (safetensors_map) TIDELOCK_ASSERT(any.tensors == safetensors_map->tensors);
  // The input as the header of a file, whose length a mutation would seldom get right.
  const Bytes framed = safetensors_of(input, Bytes(64, 'x'));
  check(framed, parse_safetensors(framed), ModelFormat::kSafetensors);
  // A field that nobody knows changes nothing.
  const Bytes longer = Bytes(input) + Bytes("\xF8\x3F\x01", 3);
  const auto before = parse_onnx_tensors(input), after = parse_onnx_tensors(longer);
  if (before) TIDELOCK_ASSERT(after && after->tensors == before->tensors);
}

}  // namespace tidelock::fuzz
