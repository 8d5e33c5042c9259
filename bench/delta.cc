// Bytes of a model update: our delta beside zstd --patch-from, bsdiff, xdelta3 and chunk dedup, for what training does
// to weights.
//
// Each tool gets the same two files (delta_cases.h). The last of them, casync, counts the chunks that a store lacks.
// Sizes are percent of the file; times are processor time (of two processors for making, of one for applying), so that
// what else runs on the machine does not count; memory is what is held beside the files themselves, which are mapped.
//
// ./dev bench delta [--json FILE] [--numbers f32|f16|int8]: all fifteen take about a quarter of an hour, nearly all of
// it theirs.
#include "codec/delta.h"

#include <fcntl.h>
#include <malloc.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

#include "bench/delta_cases.h"
#include "bench/report.h"
#include "codec/numeric_tokens.h"
#include "codec/tensor_map.h"

namespace tidelock::bench {
namespace {

namespace fs = std::filesystem;

double processor_seconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// A file in memory that counts as the file's, not as ours.
class Mapped {
 public:
  explicit Mapped(const fs::path& path) : size_(fs::file_size(path)) {
    const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    void* at = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    close(file);
    if (at != MAP_FAILED) at_ = static_cast<const char*>(at);
  }
  ~Mapped() {
    if (at_ != nullptr) munmap(const_cast<char*>(at_), size_);
  }
  Mapped(const Mapped&) = delete;
  Mapped& operator=(const Mapped&) = delete;
  BytesView bytes() const { return at_ == nullptr ? BytesView() : BytesView(at_, size_); }

 private:
  const char* at_ = nullptr;
  std::size_t size_;
};

std::uint64_t held_kib() {  // anonymous memory of this process
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("RssAnon:")) return std::stoull(line.substr(8));
  }
  return 0;
}

struct Ours {
  double bytes = 0, make_seconds = 0, apply_seconds = 0, make_kib = 0, apply_kib = 0;
};

Ours measure(BytesView base, BytesView target) {
  Ours ours;
  const std::uint64_t before = held_kib();
  const DeltaSource sources[] = {{base, {}}};
  DeltaOptions options;
  options.run_jobs = [](std::size_t count, const std::function<void(std::size_t)>& job) {
    std::atomic<std::size_t> next{0};
    const auto work = [&] {
      for (std::size_t i = next++; i < count; i = next++) job(i);
    };
    std::thread other(work);
    work();
    other.join();
  };
  double from = processor_seconds();
  const auto delta = make_delta(sources, {target, {}}, options);
  ours.make_seconds = processor_seconds() - from;
  if (!delta) return ours;
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  ours.make_kib = static_cast<double>(usage.ru_maxrss) - static_cast<double>(before) -
                  static_cast<double>((base.size() + target.size()) / 1024);

  std::uint64_t at = 0, most = 0;
  malloc_trim(0);  // what making left behind must not hide what applying takes
  const std::uint64_t before_apply = held_kib();
  bool same = true;
  const auto apply = [&](bool looks) {
    at = 0;
    DeltaApplier applier([&](const DeltaBase&) -> Result<BytesView> { return base; },
                         [&](BytesView piece) -> Result<void> {
                           if (looks) {
                             most = std::max(most, held_kib());
                             same = same && target.substr(static_cast<std::size_t>(at), piece.size()) == piece;
                           }
                           at += piece.size();
                           return {};
                         });
    for (std::size_t i = 0; i < delta->bytes.size(); i += 64u << 10) {
      if (!applier.feed(BytesView(delta->bytes).substr(i, 64u << 10))) return false;
    }
    return applier.finish().has_value() && at == target.size();
  };
  same = apply(true) && same;  // once to look at memory and result, then for time
  ours.apply_seconds = 1e9;
  for (int i = 0; i < 3; ++i) {
    from = processor_seconds();
    same = apply(false) && same;
    ours.apply_seconds = std::min(ours.apply_seconds, processor_seconds() - from);
  }
  ours.apply_kib = static_cast<double>(most - std::min(most, before_apply));
  ours.bytes = same ? static_cast<double>(delta->bytes.size()) : 0;
  return ours;
}

// In a process of its own, whose memory nobody else has used.
std::optional<Ours> measure_apart(const fs::path& base, const fs::path& target) {
  int ends[2];
  if (pipe(ends) != 0) return std::nullopt;
  const pid_t child = fork();
  if (child == 0) {
    const Mapped from(base), to(target);
    const Ours ours = measure(from.bytes(), to.bytes());
    const bool written = write(ends[1], &ours, sizeof ours) == sizeof ours;
    _exit(written ? 0 : 1);
  }
  close(ends[1]);
  Ours ours;
  const bool whole = read(ends[0], &ours, sizeof ours) == sizeof ours;
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!whole || status != 0 || ours.bytes == 0) return std::nullopt;
  return ours;
}

// Percent of the file that the differences of its numbers cost at order 0.
template <class N>
double entropy_of(BytesView base, BytesView target) {
  using Word = typename N::Word;
  const TensorMap before = map_tensors(base), after = map_tensors(target);
  std::vector<Word> differences;
  for (std::size_t i = 0; i < after.tensors.size() && i < before.tensors.size(); ++i) {
    const TensorRange &a = before.tensors[i], &b = after.tensors[i];
    for (std::uint64_t at = 0; at < std::min(a.size_bytes, b.size_bytes); at += sizeof(Word)) {
      differences.push_back(
          N::difference(N::load(target.data() + b.offset + at), N::load(base.data() + a.offset + at)));
    }
  }
  std::sort(differences.begin(), differences.end());
  double bits = 0;
  for (std::size_t i = 0; i < differences.size();) {
    const auto end =
        std::upper_bound(differences.begin() + static_cast<std::ptrdiff_t>(i), differences.end(), differences[i]);
    const auto times = static_cast<double>(end - differences.begin()) - static_cast<double>(i);
    bits -= times * std::log2(times / static_cast<double>(differences.size()));
    i = static_cast<std::size_t>(end - differences.begin());
  }
  return bits / 8 / static_cast<double>(target.size()) * 100;
}

// Runs a program in `folder`, with nothing shown; false when it could not be run or failed.
bool run_tool(const fs::path& folder, std::vector<std::string> words) {
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addchdir_np(&actions, folder.c_str());
  for (const int stream : {1, 2}) posix_spawn_file_actions_addopen(&actions, stream, "/dev/null", O_WRONLY, 0);
  pid_t child = 0;
  const int error = posix_spawnp(&child, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  int status = 0;
  return error == 0 && waitpid(child, &status, 0) == child && status == 0;
}
std::uint64_t bytes_below(const fs::path& path) {
  if (!fs::is_directory(path)) return fs::exists(path) ? fs::file_size(path) : 0;
  std::uint64_t bytes = 0;
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) bytes += entry.file_size();
  }
  return bytes;
}

struct Tool {
  const char* name;
  std::uint64_t (*bytes)(const fs::path& folder);  // what it makes of base and target; 0 when it is not there
};
constexpr Tool kTools[] = {
    {"zstd -19",
     [](const fs::path& folder) {
       run_tool(folder, {"zstd", "-19", "--long=27", "-q", "-f", "--patch-from=base", "target", "-o", "out.zstd"});
       return bytes_below(folder / "out.zstd");
     }},
    {"bsdiff",
     [](const fs::path& folder) {
       run_tool(folder, {"bsdiff", "base", "target", "out.bsdiff"});
       return bytes_below(folder / "out.bsdiff");
     }},
    {"xdelta3",
     [](const fs::path& folder) {
       run_tool(folder, {"xdelta3", "-9", "-f", "-e", "-S", "lzma", "-s", "base", "target", "out.xdelta"});
       return bytes_below(folder / "out.xdelta");
     }},
    {"chunks",  // chunks of 8 KiB that the store lacks, compressed, and their list
     [](const fs::path& folder) {
       const auto make = [&](const char* index, const char* file) {
         run_tool(folder, {"casync", "make", "--chunk-size=8192", "--store=out.castr", index, file});
         return bytes_below(folder / "out.castr");
       };
       const std::uint64_t before = make("base.caibx", "base"), after = make("target.caibx", "target");
       return before == 0 ? 0 : after - before + bytes_below(folder / "target.caibx");
     }},
};

std::string percent(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

struct Floors {
  std::optional<double> relative, absolute;
};
Floors floors_of(Numbers numbers) {
  if (numbers == Numbers::kFloat32) return {49, 63};
  if (numbers == Numbers::kFloat16) return {17, 45};
  return {1, 3.3};
}

// One line of the table and what it cost; false when something did not work.
bool run_case(const fs::path& folder, const Network& base, Change change, Numbers numbers, std::vector<Row>& rows) {
  const std::size_t width = numbers == Numbers::kFloat32 ? 4 : numbers == Numbers::kFloat16 ? 2 : 1;
  const auto scales = int8_scales(base);
  const Bytes before = onnx_file(base, numbers, scales);
  const Bytes after = onnx_file(base.changed(change, 77, width), numbers, scales);
  for (const auto& entry : fs::directory_iterator(folder)) fs::remove_all(entry);
  std::ofstream(folder / "base", std::ios::binary) << before;
  std::ofstream(folder / "target", std::ios::binary) << after;
  const auto of_file = [&](double bytes) { return bytes / static_cast<double>(after.size()) * 100; };

  std::string peers;
  double best = 1e9;
  std::array<std::uint64_t, std::size(kTools)> made{};
  std::vector<std::thread> running;
  for (std::size_t i = 0; i < made.size(); ++i) running.emplace_back([&, i] { made[i] = kTools[i].bytes(folder); });
  for (std::thread& thread : running) thread.join();
  for (std::size_t i = 0; i < made.size(); ++i) {
    const std::uint64_t bytes = made[i];
    const Tool& tool = kTools[i];
    if (bytes == 0) {
      std::fprintf(stderr, "bench-delta: %s made nothing; install it with ./dev setup --with peers\n", tool.name);
      return false;
    }
    best = std::min(best, of_file(static_cast<double>(bytes)));
    peers += (peers.empty() ? "best of " : ", ") + std::string(tool.name) + " " +
             percent(of_file(static_cast<double>(bytes)));
  }
  const auto ours = measure_apart(folder / "base", folder / "target");
  if (!ours) {
    std::fprintf(stderr, "bench-delta: the delta of %s, %s did not make the target\n", name_of(change),
                 name_of(numbers));
    return false;
  }
  const bool dense = change == Change::kAllRelative || change == Change::kAllAbsolute;
  const std::string name = std::string(name_of(numbers)) + ", " + name_of(change);
  Row size{name + ": bytes", of_file(ours->bytes), "%", best * 1.02, best, peers, best};
  if (dense) {
    const Floors floors = floors_of(numbers);
    size.floor = change == Change::kAllRelative ? floors.relative : floors.absolute;
    const double entropy = numbers == Numbers::kFloat32   ? entropy_of<numeric::F32>(before, after)
                           : numbers == Numbers::kFloat16 ? entropy_of<numeric::F16>(before, after)
                                                          : entropy_of<numeric::I8>(before, after);
    size.aim = std::min(*size.floor, entropy * 1.02);
    size.peer += "; order 0 " + percent(entropy);
  }
  rows.push_back(size);
  const double megabytes = static_cast<double>(after.size()) / 1e6;
  rows.push_back({name + ": make", ours->make_seconds / 2 * 1e3 / megabytes, "ms/MB", 50, 20, "", {}});
  rows.push_back({name + ": apply", ours->apply_seconds * 1e3 / megabytes, "ms/MB", 5, 2, "", {}});
  rows.push_back({name + ": apply, memory", ours->apply_kib / 1024, "MiB", 64, 8, "", {}});
  rows.push_back({name + ": make, memory", ours->make_kib / 1024, "MiB", {}, {}, "", {}});
  return true;
}

}  // namespace
}  // namespace tidelock::bench

int main(int argc, char** argv) {
  using namespace tidelock::bench;
  std::string only;
  std::vector<char*> rest;
  for (int i = 0; i < argc; ++i) {
    if (std::string(argv[i]) == "--numbers" && i + 1 < argc) {
      only = argv[++i];
    } else {
      rest.push_back(argv[i]);
    }
  }
  std::string folder = std::filesystem::temp_directory_path() / "tidelock-bench-XXXXXX";
  if (mkdtemp(folder.data()) == nullptr) {
    std::perror("bench-delta: mkdtemp");
    return 1;
  }
  const Network base(1);
  std::vector<Row> rows;
  bool fine = true;
  for (const Numbers numbers : kNumbers) {
    if (!only.empty() && only != name_of(numbers)) continue;
    for (const Change change : kChanges) {
      std::fprintf(stderr, "bench-delta: %s, %s\n", name_of(numbers), name_of(change));
      fine = fine && run_case(folder, base, change, numbers, rows);
    }
  }
  std::filesystem::remove_all(folder);
  if (!fine) return 1;
  return report("delta", rows, static_cast<int>(rest.size()), rest.data());
}
