// Where the tensors of a model file lie (M1): names, element types and byte ranges, so that two versions can be
// compared tensor by tensor. ONNX and safetensors are known; of anything else the map is empty, and the file is one run
// of bytes.
//
// Threads: pure functions. Cost: one pass over the headers; the weights themselves are not read.
// Ownership: names are copied, ranges are offsets into the file that was given.
// Errors:  kCorrupt when bytes claim a format and break it. A caller that only wants to save bytes treats such a file
//          as one run of bytes too.
// Limits:  below. Nothing is allocated from a length that the file claims.
// No promise: that the shape fits the range, or that the model would load. Ranges are inside the file, sorted, and do
//          not overlap.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace tidelock {

inline constexpr std::size_t kTensorMapTensorsMax = 65'536;
inline constexpr std::size_t kTensorMapNameBytesMax = 1'024;
inline constexpr std::size_t kTensorMapRankMax = 16;
inline constexpr int kTensorMapDepthMax = 16;  // nested graphs, nested JSON
inline constexpr std::size_t kSafetensorsHeaderBytesMax = 32u << 20;

// How the bytes of a range are numbers. kOpaque: of a type, or in an encoding, that we treat as bytes.
enum class ElementType : std::uint8_t { kOpaque, kI8, kI16, kF16, kBf16, kI32, kF32 };
constexpr ElementType last_enumerator(ElementType) { return ElementType::kF32; }
std::string_view element_type_name(ElementType type);  // "bytes", "int8", "int16", "float16", "bfloat16", ...
std::size_t element_bytes(ElementType type);           // 1, 2 or 4

struct TensorRange {
  std::string name;
  ElementType type = ElementType::kOpaque;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;
  std::uint64_t size_bytes = 0;  // never 0
  friend bool operator==(const TensorRange&, const TensorRange&) = default;
};

enum class ModelFormat : std::uint8_t { kUnknown, kOnnx, kSafetensors };
std::string_view model_format_name(ModelFormat format);  // "bytes", "onnx", "safetensors"

struct TensorMap {
  ModelFormat format = ModelFormat::kUnknown;
  std::vector<TensorRange> tensors;  // sorted by offset
};

// Initializers of the graph and of every graph nested in it, in raw_data or in a typed field of fixed width.
Result<TensorMap> parse_onnx_tensors(BytesView file);
Result<TensorMap> parse_safetensors(BytesView file);
// Whichever of the two the bytes are; an empty map of kUnknown when they are neither.
TensorMap map_tensors(BytesView file);

}  // namespace tidelock
