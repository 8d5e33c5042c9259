// Pairs of model files, seeded: a network of 7.5 million weights with the layers of a small detector, and what training
// does to it. Weights are normal with a scale per output channel and a few far out, so that an int8 scale is set by
// few.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/rng.h"

namespace tidelock::bench {

enum class Change { kLastRetrained, kInserted, kRandom, kAllRelative, kAllAbsolute };
enum class Numbers { kFloat32, kFloat16, kInt8 };
inline constexpr Change kChanges[] = {Change::kLastRetrained, Change::kInserted, Change::kRandom, Change::kAllRelative,
                                      Change::kAllAbsolute};
inline constexpr Numbers kNumbers[] = {Numbers::kFloat32, Numbers::kFloat16, Numbers::kInt8};
inline const char* name_of(Change change) {
  switch (change) {
    case Change::kLastRetrained: return "last 5% retrained";
    case Change::kInserted: return "4 KiB inserted";
    case Change::kRandom: return "random 1%";
    case Change::kAllRelative: return "all, relative 1e-3";
    case Change::kAllAbsolute: return "all, 0.5% of std";
  }
  return "";
}
inline const char* name_of(Numbers numbers) {
  return numbers == Numbers::kFloat32 ? "f32" : numbers == Numbers::kFloat16 ? "f16" : "int8";
}

struct Layer {
  std::string name;
  std::vector<std::uint64_t> shape;
  float sigma = 0;  // of its weights
  std::vector<float> weights;
};

class Network {
 public:
  // `scale` 1: 7.5 million weights. Smaller networks, for tests, have fewer channels.
  explicit Network(std::uint64_t seed, double scale = 1) : rng_(seed) {
    const auto channels = [&](double n) { return static_cast<std::uint64_t>(std::max(1.0, n * scale)); };
    int number = 0;
    const auto conv = [&](double out, double in, std::uint64_t kernel) {
      const std::string name = "model." + std::to_string(number++) + ".conv";
      const std::uint64_t rows = channels(out), columns = in <= 3 ? 3 : channels(in);
      add(name + ".weight", {rows, columns, kernel, kernel},
          std::sqrt(2.0F / static_cast<float>(columns * kernel * kernel)));
      add(name + ".bias", {rows}, 0.2F);
    };
    conv(32, 3, 6), conv(64, 32, 3), conv(128, 64, 3), conv(128, 128, 3), conv(128, 128, 3), conv(256, 128, 3);
    conv(256, 256, 3), conv(256, 256, 3), conv(256, 256, 3), conv(256, 256, 3);
    add("model.classes.embedding", {channels(4096), 16}, 0.1F);
    conv(512, 256, 3), conv(512, 512, 3), conv(512, 512, 1), conv(512, 512, 1), conv(256, 512, 1);
    conv(255, 256, 1), conv(255, 256, 1), conv(255, 256, 1);
  }

  // The next version of the same network.
  Network changed(Change change, std::uint64_t seed, std::size_t element_bytes) const {
    Network next = *this;
    next.rng_ = Rng(seed);
    std::uint64_t all = 0, before = 0;
    for (const Layer& layer : layers) all += layer.weights.size();
    for (Layer& layer : next.layers) {
      for (float& weight : layer.weights) {
        switch (change) {
          case Change::kLastRetrained:
            if (before >= all - all / 20) weight = next.normal() * layer.sigma;
            break;
          case Change::kInserted: break;
          case Change::kRandom:
            if (next.rng_.one_in(100)) weight = next.normal() * layer.sigma;
            break;
          case Change::kAllRelative: weight *= 1.0F + 1e-3F * next.normal(); break;
          case Change::kAllAbsolute: weight += 0.005F * layer.sigma * next.normal(); break;
        }
        ++before;
      }
      if (change == Change::kInserted && layer.name == "model.classes.embedding") {  // 4 KiB of new classes
        const std::size_t rows = 4096 / element_bytes / layer.shape[1];
        std::vector<float> added(rows * layer.shape[1]);
        for (float& weight : added) weight = next.normal() * layer.sigma;
        const auto middle = static_cast<std::ptrdiff_t>(layer.shape[0] / 2 * layer.shape[1]);
        layer.weights.insert(layer.weights.begin() + middle, added.begin(), added.end());
        layer.shape[0] += rows;
      }
    }
    return next;
  }

  std::vector<Layer> layers;

 private:
  float normal() {
    const double u = (static_cast<double>(rng_.next() >> 11) + 1) / 9007199254740993.0;
    const double v = static_cast<double>(rng_.next() >> 11) / 9007199254740992.0;
    return static_cast<float>(std::sqrt(-2 * std::log(u)) * std::cos(6.283185307179586 * v));
  }
  void add(std::string name, std::vector<std::uint64_t> shape, float sigma) {
    Layer layer{std::move(name), std::move(shape), sigma, {}};
    std::uint64_t count = 1;
    for (const std::uint64_t extent : layer.shape) count *= extent;
    const std::uint64_t row = count / layer.shape[0];
    layer.weights.reserve(count);
    float channel = 1;
    for (std::uint64_t i = 0; i < count; ++i) {
      if (i % row == 0) channel = std::exp(0.3F * normal());
      const bool far_out = rng_.one_in(10'000);
      layer.weights.push_back(normal() * sigma * channel * (far_out ? 5.0F : 1.0F));
    }
    layers.push_back(std::move(layer));
  }
  Rng rng_;
};

inline std::uint16_t to_half(float value) {  // to nearest, ties to even
  std::uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  const std::uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7FFFFFFF;
  if (magnitude >= 0x47800000) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < 0x38800000) {  // subnormal as a half
    const float scaled = std::fabs(value) * 16777216.0F;
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyint(scaled)));
  }
  const std::uint32_t rounded = magnitude + 0xFFF + (magnitude >> 13 & 1);
  return static_cast<std::uint16_t>(sign | ((rounded - 0x38000000) >> 13));
}

// Scales are those of the version that was quantised first: a fine-tune keeps them.
inline std::vector<float> int8_scales(const Network& network) {
  std::vector<float> scales;
  for (const Layer& layer : network.layers) {
    float most = 1e-9F;
    for (const float weight : layer.weights) most = std::max(most, std::fabs(weight));
    scales.push_back(most / 127);
  }
  return scales;
}

// An ONNX file: a ModelProto with the weights as raw data.
inline Bytes onnx_file(const Network& network, Numbers numbers, const std::vector<float>& scales) {
  const auto varint = [](Bytes& out, std::uint64_t v) {
    for (; v >= 0x80; v >>= 7) out.push_back(static_cast<char>(v | 0x80));
    out.push_back(static_cast<char>(v));
  };
  const auto integer = [&](Bytes& out, unsigned field, std::uint64_t value) {
    varint(out, field << 3), varint(out, value);
  };
  const auto bytes = [&](Bytes& out, unsigned field, BytesView value) {
    varint(out, field << 3 | 2), varint(out, value.size()), out.append(value);
  };
  Bytes graph;
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    Bytes node;
    bytes(node, 1, "x" + std::to_string(i)), bytes(node, 1, layer.name);
    bytes(node, 2, "x" + std::to_string(i + 1)), bytes(node, 4, layer.shape.size() == 4 ? "Conv" : "Add");
    bytes(graph, 1, node);
  }
  bytes(graph, 2, "detector");
  for (std::size_t i = 0; i < network.layers.size(); ++i) {
    const Layer& layer = network.layers[i];
    Bytes raw, tensor;
    for (const float weight : layer.weights) {
      switch (numbers) {
        case Numbers::kFloat32: raw.append(reinterpret_cast<const char*>(&weight), 4); break;
        case Numbers::kFloat16: {
          const std::uint16_t half = to_half(weight);
          raw.append(reinterpret_cast<const char*>(&half), 2);
          break;
        }
        case Numbers::kInt8:
          raw.push_back(static_cast<char>(std::lround(std::fmin(127.0F, std::fmax(-127.0F, weight / scales[i])))));
          break;
      }
    }
    for (const std::uint64_t extent : layer.shape) integer(tensor, 1, extent);
    integer(tensor, 2, numbers == Numbers::kFloat32 ? 1 : numbers == Numbers::kFloat16 ? 10 : 3);
    bytes(tensor, 8, layer.name), bytes(tensor, 9, raw);
    bytes(graph, 5, tensor);
  }
  Bytes file;
  integer(file, 1, 8), bytes(file, 2, "tidelock bench"), bytes(file, 7, graph);
  return file;
}

}  // namespace tidelock::bench
