#include "store/kv/manifest_edit.h"

#include <optional>

namespace tidelock {
namespace {

enum Tag : std::uint32_t {
  kComparator = 1,
  kLogNumber = 2,
  kNextFileNumber = 3,
  kLastSequence = 4,
  kCompactCursor = 5,
  kDeletedFile = 6,
  kPrevLogNumber = 9,
  kMinLogNumberToKeep = 10,
  kNewFile = 103,
  kColumnFamily = 200,
  kColumnFamilyAdd = 201,
  kColumnFamilyDrop = 202,
  kMaxColumnFamily = 203,
  kInAtomicGroup = 300,
  kSafeToIgnore = 1 << 13,  // set: a length and that many bytes follow
};
constexpr std::uint64_t kNewFileEnds = 1;  // the last of a new file's own tags

class Reader {
 public:
  explicit Reader(BytesView in) : in_(in) {}
  bool empty() const { return in_.empty(); }
  std::optional<std::uint64_t> number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !in_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(in_.front());
      in_.remove_prefix(1);
      value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }
  bool skip_numbers(int count) {
    for (; count > 0; --count) {
      if (!number()) return false;
    }
    return true;
  }
  bool skip_bytes() {
    const auto size = number();
    if (!size || *size > in_.size()) return false;
    in_.remove_prefix(*size);
    return true;
  }
  std::optional<std::uint64_t> new_file() {
    // level, number, size; smallest and largest key; smallest and largest sequence number; tags of its own
    if (!skip_numbers(1)) return std::nullopt;
    const auto file = number();
    if (!file || !skip_numbers(1) || !skip_bytes() || !skip_bytes() || !skip_numbers(2)) return std::nullopt;
    for (;;) {
      const auto tag = number();
      if (!tag) return std::nullopt;
      if (*tag == kNewFileEnds) return file;
      if (!skip_bytes()) return std::nullopt;
    }
  }

 private:
  BytesView in_;
};

}  // namespace

std::optional<ManifestEdit> read_manifest_edit(BytesView entry) {
  ManifestEdit edit;
  const auto note = [](std::optional<std::uint64_t> number, std::vector<std::uint64_t>& into) {
    if (number) into.push_back(*number);
    return number.has_value();
  };
  for (Reader in(entry); !in.empty();) {
    const auto tag = in.number();
    if (!tag) return std::nullopt;
    bool understood = false;
    switch (*tag) {
      case kMinLogNumberToKeep: {
        const auto number = in.number();
        understood = number.has_value();
        edit.min_log_to_keep = number.value_or(0);
        break;
      }
      case kLogNumber:
      case kNextFileNumber:
      case kLastSequence:
      case kPrevLogNumber:
      case kColumnFamily:
      case kMaxColumnFamily:
      case kInAtomicGroup: understood = in.skip_numbers(1); break;
      case kDeletedFile: understood = in.skip_numbers(1) && note(in.number(), edit.deleted_tables); break;
      case kComparator:
      case kColumnFamilyAdd: understood = in.skip_bytes(); break;
      case kCompactCursor: understood = in.skip_numbers(1) && in.skip_bytes(); break;
      case kNewFile: understood = note(in.new_file(), edit.new_tables); break;
      case kColumnFamilyDrop: understood = true; break;
      default: understood = (*tag & kSafeToIgnore) != 0 && in.skip_bytes();
    }
    if (!understood) return std::nullopt;
  }
  return edit;
}

std::uint64_t min_log_to_keep(BytesView entry) {
  const auto edit = read_manifest_edit(entry);
  return edit ? edit->min_log_to_keep : 0;
}

}  // namespace tidelock
