#include "codec/tensor_map.h"

namespace tidelock {

std::string_view element_type_name(ElementType type) {
  switch (type) {
    case ElementType::kOpaque: return "bytes";
    case ElementType::kI8: return "int8";
    case ElementType::kI16: return "int16";
    case ElementType::kF16: return "float16";
    case ElementType::kBf16: return "bfloat16";
    case ElementType::kI32: return "int32";
    case ElementType::kF32: return "float32";
  }
  return "bytes";
}

std::size_t element_bytes(ElementType type) {
  switch (type) {
    case ElementType::kOpaque:
    case ElementType::kI8: return 1;
    case ElementType::kI16:
    case ElementType::kF16:
    case ElementType::kBf16: return 2;
    case ElementType::kI32:
    case ElementType::kF32: return 4;
  }
  return 1;
}

std::string_view model_format_name(ModelFormat format) {
  switch (format) {
    case ModelFormat::kUnknown: return "bytes";
    case ModelFormat::kOnnx: return "onnx";
    case ModelFormat::kSafetensors: return "safetensors";
  }
  return "bytes";
}

// A safetensors file begins with eight bytes of length, so it is asked first: protobuf accepts many short inputs.
TensorMap map_tensors(BytesView file) {
  if (auto map = parse_safetensors(file)) return std::move(*map);
  if (auto map = parse_onnx_tensors(file)) return std::move(*map);
  return {};
}

}  // namespace tidelock
