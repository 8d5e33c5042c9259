// safetensors: eight bytes of length, little-endian, a JSON object of that many bytes, then the data. The object maps
// each tensor's name to {"dtype", "shape", "data_offsets": [begin, end]}, offsets counted from the end of the object;
// "__metadata__" holds strings and is skipped.
//
// JSON is read by hand, one pass, no tree: of a file from outside we want three fields per tensor.
#include <algorithm>
#include <limits>
#include <optional>
#include <set>

#include "codec/tensor_map.h"

namespace tidelock {
namespace {

constexpr std::size_t kLengthBytes = 8;
constexpr std::string_view kMetadata = "__metadata__";

struct Dtype {
  std::string_view name;
  ElementType type;
  std::uint64_t bits;
};
constexpr Dtype kDtypes[] = {
    {"F32", ElementType::kF32, 32},    {"F16", ElementType::kF16, 16},    {"BF16", ElementType::kBf16, 16},
    {"I8", ElementType::kI8, 8},       {"U8", ElementType::kI8, 8},       {"I16", ElementType::kI16, 16},
    {"U16", ElementType::kI16, 16},    {"I32", ElementType::kI32, 32},    {"U32", ElementType::kI32, 32},
    {"BOOL", ElementType::kOpaque, 8}, {"F8_E4M3", ElementType::kI8, 8},  {"F8_E5M2", ElementType::kI8, 8},
    {"I64", ElementType::kOpaque, 64}, {"U64", ElementType::kOpaque, 64}, {"F64", ElementType::kOpaque, 64},
};

class Json {
 public:
  explicit Json(BytesView text) : text_(text) {}
  bool ok() const { return ok_; }
  bool at_end() {
    space();
    return at_ == text_.size();
  }
  bool take(char wanted) {
    space();
    if (!ok_ || at_ >= text_.size() || text_[at_] != wanted) return false;
    ++at_;
    return true;
  }
  void need(char wanted) {
    if (!take(wanted)) ok_ = false;
  }
  // Calls member(key) for each; it must read the value.
  template <class Member>
  void object(Member member) {
    need('{');
    if (take('}')) return;
    do {
      const std::string key = string();
      need(':');
      if (!ok_) return;
      member(key);
    } while (ok_ && take(','));
    need('}');
  }
  template <class Element>
  void array(Element element) {
    need('[');
    if (take(']')) return;
    do element();
    while (ok_ && take(','));
    need(']');
  }
  std::uint64_t number() {  // a whole number that is not negative; all that is wanted here
    space();
    std::uint64_t value = 0;
    const std::size_t from = at_;
    while (ok_ && at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9') {
      const auto digit = static_cast<std::uint64_t>(text_[at_++] - '0');
      if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) ok_ = false;
      value = value * 10 + digit;
    }
    if (at_ == from || (text_[from] == '0' && at_ > from + 1)) ok_ = false;
    return value;
  }
  std::string string() {
    std::string out;
    if (!take('"')) ok_ = false;
    while (ok_) {
      if (at_ >= text_.size() || static_cast<unsigned char>(text_[at_]) < 0x20) break;
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c == '\\') {
        escape(out);
      } else {
        out.push_back(c);
      }
    }
    ok_ = false;
    return {};
  }
  void skip(int depth) {
    space();
    if (!ok_ || at_ >= text_.size() || depth >= kTensorMapDepthMax) {
      ok_ = false;
      return;
    }
    switch (text_[at_]) {
      case '{': object([&](const std::string&) { skip(depth + 1); }); break;
      case '[': array([&] { skip(depth + 1); }); break;
      case '"': string(); break;
      default: {
        const std::size_t from = at_;
        while (at_ < text_.size() && is_word(text_[at_])) ++at_;
        if (at_ == from) ok_ = false;
      }
    }
  }

 private:
  static bool is_word(char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == 'E' || c == '+' || c == '-' || c == '.';
  }
  void space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) {
      ++at_;
    }
  }
  void escape(std::string& out) {
    static constexpr std::string_view kFrom = "\"\\/bfnrt", kTo = "\"\\/\b\f\n\r\t";
    if (at_ >= text_.size()) {
      ok_ = false;
      return;
    }
    const char c = text_[at_++];
    if (const std::size_t known = kFrom.find(c); known != std::string_view::npos) {
      out.push_back(kTo[known]);
    } else if (c == 'u' && text_.size() - at_ >= 4) {
      // Kept as it is written: names are compared, never shown as anything but bytes.
      out.append("\\u").append(text_.substr(at_, 4));
      at_ += 4;
    } else {
      ok_ = false;
    }
  }

  BytesView text_;
  std::size_t at_ = 0;
  bool ok_ = true;
};

struct Entry {
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::vector<std::uint64_t> offsets;
  bool too_long = false;
};

Entry read_entry(Json& json) {
  Entry entry;
  json.object([&](const std::string& key) {
    if (key == "dtype") {
      entry.dtype = json.string();
    } else if (key == "shape") {
      json.array([&] {
        entry.shape.push_back(static_cast<std::int64_t>(json.number()));
        if (entry.shape.size() > kTensorMapRankMax) entry.too_long = true, entry.shape.pop_back();
      });
    } else if (key == "data_offsets") {
      json.array([&] {
        entry.offsets.push_back(json.number());
        if (entry.offsets.size() > 2) entry.too_long = true, entry.offsets.pop_back();
      });
    } else {
      json.skip(1);
    }
  });
  return entry;
}

Error wrong(const std::string& name, const std::string& what) {
  return Error{Code::kCorrupt, "safetensors: tensor '" + name.substr(0, 64) + "': " + what, {}, 0};
}

// Bytes that a tensor of this type and shape takes; nothing when that overflows or the type is not known.
std::optional<std::uint64_t> bytes_of(const Dtype& dtype, const std::vector<std::int64_t>& shape) {
  std::uint64_t bits = dtype.bits;
  for (const std::int64_t extent : shape) {
    if (__builtin_mul_overflow(bits, static_cast<std::uint64_t>(extent), &bits)) return std::nullopt;
  }
  return bits / 8;
}

Result<TensorRange> range_of(const std::string& name, Entry entry, std::uint64_t data_bytes) {
  if (name.size() > kTensorMapNameBytesMax) {
    return fail(wrong(name, "a name of " + std::to_string(name.size()) + " bytes; at most " +
                                std::to_string(kTensorMapNameBytesMax)));
  }
  if (entry.too_long || entry.offsets.size() != 2) {
    return fail(wrong(name, "shape must have at most " + std::to_string(kTensorMapRankMax) +
                                " extents and data_offsets two numbers"));
  }
  const auto [begin, end] = std::pair(entry.offsets[0], entry.offsets[1]);
  if (begin > end || end > data_bytes) {
    return fail(wrong(name, "data_offsets [" + std::to_string(begin) + ", " + std::to_string(end) + "] in " +
                                std::to_string(data_bytes) + " bytes of data"));
  }
  TensorRange range{name, ElementType::kOpaque, std::move(entry.shape), begin, end - begin};
  const auto* dtype = std::find_if(std::begin(kDtypes), std::end(kDtypes),
                                   [&](const Dtype& known) { return known.name == entry.dtype; });
  if (dtype == std::end(kDtypes)) return range;  // a type of a later day: its bytes
  if (bytes_of(*dtype, range.shape) != range.size_bytes) {
    return fail(wrong(name, std::to_string(range.size_bytes) + " bytes do not fit its dtype and shape"));
  }
  range.type = dtype->type;
  return range;
}

}  // namespace

Result<TensorMap> parse_safetensors(BytesView file) {
  std::uint64_t header_bytes = 0;
  for (std::size_t i = 0; i < kLengthBytes && i < file.size(); ++i) {
    header_bytes |= static_cast<std::uint64_t>(static_cast<unsigned char>(file[i])) << (8 * i);
  }
  if (file.size() < kLengthBytes || header_bytes > file.size() - kLengthBytes ||
      header_bytes > kSafetensorsHeaderBytesMax) {
    return fail(Code::kCorrupt, "safetensors: a header of " + std::to_string(header_bytes) + " bytes in a file of " +
                                    std::to_string(file.size()) + "; at most " +
                                    std::to_string(kSafetensorsHeaderBytesMax));
  }
  const std::uint64_t data_at = kLengthBytes + header_bytes, data_bytes = file.size() - data_at;
  Json json(file.substr(kLengthBytes, static_cast<std::size_t>(header_bytes)));
  TensorMap map{ModelFormat::kSafetensors, {}};
  std::set<std::string, std::less<>> names;
  std::optional<Error> error;
  json.object([&](const std::string& name) {
    if (error || name == kMetadata) return json.skip(0);
    if (map.tensors.size() >= kTensorMapTensorsMax) {
      error = wrong(name, "more than " + std::to_string(kTensorMapTensorsMax) + " tensors");
      return json.skip(0);
    }
    Entry entry = read_entry(json);
    if (!json.ok()) return;
    auto range = range_of(name, std::move(entry), data_bytes);
    if (!range) {
      error = range.error();
    } else if (!names.insert(name).second) {
      error = wrong(name, "named twice");
    } else if (range->size_bytes > 0) {
      range->offset += data_at;
      map.tensors.push_back(std::move(*range));
    }
  });
  if (!json.ok() || !json.at_end()) return fail(Code::kCorrupt, "safetensors: the header is not the JSON it should be");
  if (error) return fail(std::move(*error));
  std::sort(map.tensors.begin(), map.tensors.end(),
            [](const TensorRange& a, const TensorRange& b) { return a.offset < b.offset; });
  for (std::size_t i = 1; i < map.tensors.size(); ++i) {
    const TensorRange& before = map.tensors[i - 1];
    if (before.offset + before.size_bytes > map.tensors[i].offset) {
      return fail(wrong(map.tensors[i].name, "overlaps '" + before.name.substr(0, 64) + "'"));
    }
  }
  return map;
}

}  // namespace tidelock
