// Each file of the new release is planned against the files of the old one, that of the same path first; a file that is
// the same costs nothing. Plans use all processors; what they make is counted and thrown away.
#include "cli/model_diff.h"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <filesystem>
#include <map>
#include <thread>
#include <vector>

#include "cli/words.h"
#include "codec/delta.h"
#include "codec/signature.h"
#include "store/models/files.h"

namespace tidelock {
namespace {

namespace fs = std::filesystem;
constexpr std::size_t kFilesMax = 4096;
constexpr std::size_t kLinesMax = 20;  // of one file, unless all are asked for

// A file's bytes, mapped: models are larger than what one wants to copy.
class MappedFile {
 public:
  static Result<MappedFile> open(const std::string& path) {
    MappedFile file;
    std::uint64_t size = 0;
    const auto fd = files::open_plain(path, size);
    if (!fd) return fail(fd.error());
    file.size_ = static_cast<std::size_t>(size);
    if (size == 0) return file;
    void* at = ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, fd->get(), 0);
    if (at == MAP_FAILED) return fail(Code::kUnavailable, path + ": cannot be mapped into memory");
    file.at_ = static_cast<const char*>(at);
    return file;
  }
  ~MappedFile() {
    if (at_ != nullptr) ::munmap(const_cast<char*>(at_), size_);
  }
  MappedFile(MappedFile&& other) noexcept : at_(std::exchange(other.at_, nullptr)), size_(other.size_) {}
  MappedFile& operator=(MappedFile&&) = delete;
  BytesView bytes() const { return at_ == nullptr ? BytesView() : BytesView(at_, size_); }

 private:
  MappedFile() = default;
  const char* at_ = nullptr;
  std::size_t size_ = 0;
};
using Files = std::map<std::string, MappedFile>;  // by path below the release

Error wrong(Code code, std::string message) { return Error{code, std::move(message), {}, 0}; }

// The files of a release folder, names that begin with '.' left out as when it is published; of a file, itself under
// "".
Result<Files> read_release(const std::string& where) {
  std::error_code error;
  Files found;
  const auto add = [&](const std::string& path, const std::string& full) -> Result<void> {
    auto file = MappedFile::open(full);
    if (!file) return fail(file.error());
    found.emplace(path, std::move(*file));
    return {};
  };
  if (!fs::exists(where, error))
    return fail(wrong(Code::kNotFound, where + ": no such file or folder; give two releases"));
  if (!fs::is_directory(where, error)) {
    if (auto added = add("", where); !added) return fail(added.error());
    return found;
  }
  fs::recursive_directory_iterator entry(where, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    if (entry->path().filename().string().starts_with('.')) {
      if (entry->is_directory(error)) entry.disable_recursion_pending();
      continue;
    }
    if (entry->is_directory(error)) continue;
    if (found.size() == kFilesMax) {
      return fail(
          wrong(Code::kInvalid, where + ": more than " + std::to_string(kFilesMax) + " files; is it a release?"));
    }
    if (auto added = add(entry->path().lexically_relative(where).string(), entry->path().string()); !added) {
      return fail(added.error());
    }
  }
  if (error) return fail(wrong(Code::kUnavailable, where + ": " + error.message()));
  return found;
}

void run_on_all_processors(std::size_t count, const std::function<void(std::size_t)>& job) {
  std::atomic<std::size_t> next{0};
  const auto work = [&] {
    for (std::size_t i = next++; i < count; i = next++) job(i);
  };
  std::vector<std::thread> others;
  const std::size_t processors = std::max(1u, std::thread::hardware_concurrency());
  for (std::size_t i = 1; i < std::min(count, processors); ++i) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
}

struct FileDiff {
  std::string path;
  std::uint64_t bytes = 0, send_bytes = 0;
  ModelFormat format = ModelFormat::kUnknown;
  std::vector<DeltaPart> parts;  // none when the file is already there
};

Result<FileDiff> diff_file(const Files& before, const std::string& path, BytesView after) {
  FileDiff diff{path, after.size(), 0, map_tensors(after).format, {}};
  std::vector<DeltaSource> bases;
  const auto same_path = before.find(path);
  if (same_path != before.end()) bases.push_back({same_path->second.bytes(), {}});
  for (auto other = before.begin(); other != before.end() && bases.size() < kDeltaBasesMax; ++other) {
    if (other != same_path && !other->second.bytes().empty()) bases.push_back({other->second.bytes(), {}});
  }
  for (const DeltaSource& base : bases) {
    if (base.bytes == after) return diff;
  }
  DeltaOptions options;
  options.run_jobs = run_on_all_processors;
  auto delta = make_delta(bases, {after, {}}, options);
  if (!delta) return fail(delta.error());
  diff.send_bytes = delta->bytes.size();
  diff.parts = std::move(delta->parts);
  return diff;
}

std::string line(const std::string& what, std::uint64_t bytes, const std::string& sends) {
  std::string text = what;
  text.resize(std::max<std::size_t>(text.size() + 1, 52), ' ');
  std::string size = bytes_words(bytes);
  size.insert(0, size.size() < 10 ? 10 - size.size() : 0, ' ');
  return text + size + "  " + sends;
}
std::string sends_words(std::uint64_t send_bytes, std::uint64_t of) {
  char share[32];
  std::snprintf(share, sizeof share, "%.3g %%",
                of == 0 ? 0.0 : static_cast<double>(send_bytes) * 100 / static_cast<double>(of));
  return "sends " + bytes_words(send_bytes) + ", " + share;
}

std::string shown(const FileDiff& diff, bool all) {
  const std::string name = diff.path.empty() ? "file" : shown_text(diff.path);
  if (diff.parts.empty()) return line(name, diff.bytes, "already there");
  std::string text = line(name, diff.bytes, sends_words(diff.send_bytes, diff.bytes));
  std::vector<const DeltaPart*> parts;
  for (const DeltaPart& part : diff.parts) parts.push_back(&part);
  std::uint64_t rest_bytes = 0, rest_sends = 0, rest = 0;
  if (!all) {
    std::sort(parts.begin(), parts.end(), [](const DeltaPart* a, const DeltaPart* b) {
      return a->delta_bytes != b->delta_bytes ? a->delta_bytes > b->delta_bytes : a->offset < b->offset;
    });
    while (parts.size() > kLinesMax || (!parts.empty() && parts.back()->kind == DeltaKind::kSame)) {
      ++rest;
      rest_bytes += parts.back()->size_bytes;
      rest_sends += parts.back()->delta_bytes;
      parts.pop_back();
    }
  }
  for (const DeltaPart* part : parts) {
    std::string kind = "  " + std::string(delta_kind_name(part->kind));
    kind.resize(11, ' ');
    std::string type = std::string(element_type_name(part->type));
    type.resize(10, ' ');
    text += "\n" + line(kind + type + (part->name.empty() ? "(between tensors)" : shown_text(part->name)),
                        part->size_bytes, sends_words(part->delta_bytes, part->size_bytes));
  }
  if (rest > 0) {
    text += "\n" + line("  " + std::to_string(rest) + " more, mostly already there; --all lists them", rest_bytes,
                        sends_words(rest_sends, rest_bytes));
  }
  return text;
}

Json json_of(const FileDiff& diff) {
  Json parts = Json::array();
  for (const DeltaPart& part : diff.parts) {
    parts.push_back({{"name", shown_text(part.name)},
                     {"type", element_type_name(part.type)},
                     {"offset", part.offset},
                     {"bytes", part.size_bytes},
                     {"kind", delta_kind_name(part.kind)},
                     {"send_bytes", part.delta_bytes}});
  }
  return {{"path", shown_text(diff.path)},       {"bytes", diff.bytes},
          {"send_bytes", diff.send_bytes},       {"format", model_format_name(diff.format)},
          {"already_there", diff.parts.empty()}, {"parts", std::move(parts)}};
}

}  // namespace

int model_diff(const Common& common, const std::string& before, const std::string& after, bool all) {
  const auto old_files = read_release(before);
  if (!old_files) return report(common, old_files.error());
  const auto new_files = read_release(after);
  if (!new_files) return report(common, new_files.error());
  if (old_files->contains("") != new_files->contains("")) {
    return report(common,
                  wrong(Code::kInvalid, "one of " + before + " and " + after + " is a file, the other a folder"),
                  "give two files, or two folders of a release");
  }
  std::uint64_t bytes = 0, send_bytes = 0;
  Json list = Json::array();
  std::string text;
  for (const auto& [path, file] : *new_files) {
    const auto diff = diff_file(*old_files, path, file.bytes());
    if (!diff) return report(common, diff.error());
    bytes += diff->bytes;
    send_bytes += diff->send_bytes;
    list.push_back(json_of(*diff));
    text += shown(*diff, all) + "\n";
  }
  text +=
      line("total", bytes,
           sends_words(send_bytes, bytes) + (send_bytes < bytes ? ", saves " + bytes_words(bytes - send_bytes) : ""));
  return done(common, {{"bytes", bytes}, {"send_bytes", send_bytes}, {"files", std::move(list)}}, text);
}

}  // namespace tidelock
