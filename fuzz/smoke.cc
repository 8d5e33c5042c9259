// The target in any build: the committed corpus, then a fixed number of mutations of it drawn from a seed. A few
// seconds of it are part of the tests; what it finds replays by the line that it prints.
//
//   NAME_smoke CORPUS_FOLDER [--runs N] [--seed S]
//   NAME_smoke --input FILE             one input, such as libFuzzer's crash-...
//   NAME_smoke --write-corpus FOLDER    the seeds of the target, one file each
//
// Limits: no single allocation above kAllocationMax: a length field alone must not make anybody allocate (X7).
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <new>
#include <sstream>

#include "base/rng.h"
#include "fuzz/fuzz.h"

namespace {

[[maybe_unused]] constexpr std::size_t kAllocationMax = 256u << 20;

}  // namespace

// The thread sanitizer has operators of its own; the limit is held in every other build.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TIDELOCK_ALLOCATIONS_UNLIMITED
#endif
#endif
#ifndef TIDELOCK_ALLOCATIONS_UNLIMITED
void* operator new(std::size_t size) {
  TIDELOCK_ASSERT(size <= kAllocationMax);
  void* memory = std::malloc(size == 0 ? 1 : size);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace {

using tidelock::Bytes;
using tidelock::BytesView;
using tidelock::Rng;

constexpr std::size_t kInputBytesMax = 4096;  // of a mutated one
constexpr std::size_t kShownBytesMax = 1024;

Bytes current;  // for the handler
std::uint64_t current_run = 0;

extern "C" void on_death(int signal) {
  std::fprintf(stderr, "\nsignal %d in run %llu, %zu bytes: %s%s\n", signal,
               static_cast<unsigned long long>(current_run), current.size(),
               tidelock::to_hex(BytesView(current).substr(0, kShownBytesMax)).c_str(),
               current.size() > kShownBytesMax ? "..." : "");
  _exit(1);
}

void execute(Bytes input) {
  current = std::move(input);
  tidelock::fuzz::run(current);
}

// One small change, of the kinds that parsers trip over.
void mutate(Bytes& bytes, const std::vector<Bytes>& corpus, Rng& rng) {
  static constexpr unsigned char kTelling[] = {0x00, 0x01, 0x7F, 0x80, 0x81, 0xFE, 0xFF,
                                               '\r', '\n', '*',  '$',  '-',  '0',  '9'};
  const std::size_t at = static_cast<std::size_t>(rng.below(bytes.size() + 1));
  const std::size_t left = bytes.size() - at;
  switch (rng.below(9)) {
    case 0:
      if (left > 0) bytes[at] = static_cast<char>(bytes[at] ^ (1 << rng.below(8)));
      break;
    case 1:
      if (left > 0) bytes[at] = static_cast<char>(rng.next());
      break;
    case 2:
      if (left > 0) bytes[at] = static_cast<char>(kTelling[rng.below(sizeof kTelling)]);
      break;
    case 3: bytes.insert(at, 1, static_cast<char>(kTelling[rng.below(sizeof kTelling)])); break;
    case 4: bytes.erase(at, static_cast<std::size_t>(rng.below(8) + 1)); break;
    case 5: bytes.resize(at); break;
    case 6: bytes.insert(at, bytes.substr(at, static_cast<std::size_t>(rng.below(32)))); break;  // doubled
    case 7: {  // the tail, or a piece, of another
      const Bytes& other = corpus[static_cast<std::size_t>(rng.below(corpus.size()))];
      const std::size_t from = static_cast<std::size_t>(rng.below(other.size() + 1));
      bytes.replace(at, rng.one_in(2) ? left : 0, other.substr(from, static_cast<std::size_t>(rng.below(256))));
      break;
    }
    default:  // a number of up to eight bytes, all high or counting up
      for (std::size_t i = at; i < std::min(bytes.size(), at + 8); ++i) bytes[i] = rng.one_in(2) ? '\xFF' : bytes[i];
  }
  if (bytes.size() > kInputBytesMax) bytes.resize(kInputBytesMax);
}

Bytes file_bytes(const std::filesystem::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

int write_corpus(const std::filesystem::path& folder) {
  std::filesystem::create_directories(folder);
  for (const auto& seed : tidelock::fuzz::seeds()) {
    std::ofstream(folder / seed.name, std::ios::binary)
        .write(seed.bytes.data(), static_cast<std::streamsize>(seed.bytes.size()));
  }
  return 0;
}

int usage(const char* what) {
  std::fprintf(stderr,
               "%s\nusage: NAME_smoke CORPUS_FOLDER [--runs N] [--seed S] | --input FILE | --write-corpus FOLDER\n",
               what);
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  std::string folder;
  std::uint64_t runs = 10'000, seed = 1;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    const char* value = i + 1 < argc ? argv[i + 1] : nullptr;
    if (flag == "--write-corpus" && value != nullptr) return write_corpus(value);
    if (flag == "--input" && value != nullptr) return execute(file_bytes(value)), 0;
    if ((flag == "--runs" || flag == "--seed") && value != nullptr) {
      std::uint64_t& number = flag == "--runs" ? runs : seed;
      if (std::from_chars(value, value + std::strlen(value), number).ec != std::errc()) return usage(value);
      ++i;
    } else if (!flag.starts_with("--") && folder.empty()) {
      folder = flag;
    } else {
      return usage(argv[i]);
    }
  }
  std::vector<Bytes> corpus;
  std::error_code error;
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());  // the order of a folder is chance
  for (const auto& path : paths) corpus.push_back(file_bytes(path));
  if (corpus.empty()) return usage(("no corpus in '" + folder + "'").c_str());
  for (const int signal : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL}) std::signal(signal, on_death);
  std::printf("%zu files of the corpus, %llu mutations, seed %llu\n", corpus.size(),
              static_cast<unsigned long long>(runs), static_cast<unsigned long long>(seed));
  std::fflush(stdout);
  for (const Bytes& bytes : corpus) execute(bytes);
  for (const auto& fresh : tidelock::fuzz::seeds()) execute(fresh.bytes);  // formats change, a committed file does not
  Rng rng(seed);
  while (current_run < runs) {
    ++current_run;
    Bytes bytes = corpus[static_cast<std::size_t>(rng.below(corpus.size()))];
    for (std::uint64_t changes = 1 + rng.below(6); changes > 0; --changes) mutate(bytes, corpus, rng);
    execute(std::move(bytes));
  }
  return 0;
}
