// Small model files, for tests and fuzzers: the same tensors as ONNX, as safetensors, or one behind the other.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"
#include "codec/tensor_map.h"

namespace tidelock::model_files {

struct Tensor {
  std::string name;
  ElementType type = ElementType::kF32;
  Bytes bytes;
};

inline void varint(Bytes& out, std::uint64_t v) {
  for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
  out.push_back(static_cast<char>(v));
}
inline Bytes number_field(unsigned field, std::uint64_t value) {
  Bytes out;
  varint(out, field << 3);
  varint(out, value);
  return out;
}
inline Bytes bytes_field(unsigned field, BytesView value) {
  Bytes out;
  varint(out, field << 3 | 2);
  varint(out, value.size());
  out.append(value);
  return out;
}

inline std::uint64_t onnx_type(ElementType type) {
  switch (type) {
    case ElementType::kF32: return 1;
    case ElementType::kI8: return 3;
    case ElementType::kI16: return 5;
    case ElementType::kI32: return 6;
    case ElementType::kF16: return 10;
    case ElementType::kBf16: return 16;
    case ElementType::kOpaque: break;
  }
  return 7;  // int64
}
inline Bytes onnx_tensor(const Tensor& tensor) {
  return number_field(1, tensor.bytes.size() / element_bytes(tensor.type)) + number_field(2, onnx_type(tensor.type)) +
         bytes_field(8, tensor.name) + bytes_field(9, tensor.bytes);
}
inline Bytes onnx_graph(const std::vector<Tensor>& tensors) {
  Bytes graph =
      bytes_field(1, bytes_field(1, "x") + bytes_field(2, "y") + bytes_field(4, "Conv")) + bytes_field(2, "g");
  for (const Tensor& tensor : tensors) graph += bytes_field(5, onnx_tensor(tensor));
  return graph;
}
inline Bytes onnx(const std::vector<Tensor>& tensors) {
  return number_field(1, 8) + bytes_field(2, "fixture") + bytes_field(7, onnx_graph(tensors));
}

inline Bytes safetensors_of(std::string_view header, BytesView data) {
  Bytes out;
  for (int i = 0; i < 8; ++i) out.push_back(static_cast<char>(static_cast<std::uint64_t>(header.size()) >> (8 * i)));
  return out + Bytes(header) + Bytes(data);
}
inline Bytes safetensors(const std::vector<Tensor>& tensors) {
  std::string header = R"({"__metadata__":{"format":"pt"})";
  Bytes data;
  for (const Tensor& tensor : tensors) {
    static constexpr const char* kNames[] = {"F64", "I8", "I16", "F16", "BF16", "I32", "F32"};
    const std::uint64_t width = tensor.type == ElementType::kOpaque ? 8 : element_bytes(tensor.type);
    header += ",\"" + tensor.name + "\":{\"dtype\":\"" + kNames[static_cast<int>(tensor.type)] + "\",\"shape\":[" +
              std::to_string(tensor.bytes.size() / width) + "],\"data_offsets\":[" + std::to_string(data.size()) + "," +
              std::to_string(data.size() + tensor.bytes.size()) + "]}";
    data += tensor.bytes;
  }
  return safetensors_of(header + "}", data);
}

// Numbers of one type that look like weights: bell-shaped, around zero.
inline Bytes weights(Rng& rng, ElementType type, std::size_t count) {
  Bytes out;
  const auto bell = [&] {
    double sum = 0;
    for (int i = 0; i < 6; ++i) sum += static_cast<double>(rng.below(1u << 20)) / (1u << 20) - 0.5;
    return sum;
  };
  for (std::size_t i = 0; i < count; ++i) {
    const auto value = static_cast<float>(bell() * 0.1);
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    switch (type) {
      case ElementType::kF32: break;
      case ElementType::kBf16: bits >>= 16; break;
      case ElementType::kF16:  // as it is for normal numbers of this size, cut off
        bits =
            (bits >> 16 & 0x8000) | ((bits & 0x7FFFFFFF) < 0x38800000 ? 0 : ((bits & 0x7FFFFFFF) - 0x38000000) >> 13);
        break;
      default: bits = static_cast<std::uint32_t>(static_cast<int>(value * 200)); break;
    }
    out.append(reinterpret_cast<const char*>(&bits), element_bytes(type));
  }
  return out;
}

// Adds a small number to the bits of about one in `every` elements.
inline void nudge(Rng& rng, Bytes& bytes, ElementType type, std::uint64_t every, std::uint64_t most) {
  const std::size_t width = element_bytes(type);
  for (std::size_t at = 0; at + width <= bytes.size(); at += width) {
    if (!rng.one_in(every)) continue;
    std::uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + at, width);
    bits += static_cast<std::uint32_t>(rng.below(2 * most + 1)) - static_cast<std::uint32_t>(most);
    std::memcpy(bytes.data() + at, &bits, width);
  }
}

}  // namespace tidelock::model_files
