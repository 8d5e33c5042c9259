// history-check decides from the logs of a run's clients (history.h) whether anybody was lied to.
//
//   history-check LOG ...          prints one JSON object; exit code 0: clean, 1: violations, 2: cannot judge
//   history-check --measure N      the same over N records made up on the spot: how fast it is
//
// It shares no code with the product and starts nothing. Memory: the logs are mapped, plus some 100 bytes for each
// write.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "history_rules.h"

namespace {

using namespace chaos;

std::int64_t now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return std::int64_t{t.tv_sec} * 1'000'000'000 + t.tv_nsec;
}

// The records of one log; false when the file is no log.
bool map_log(const char* path, std::span<const Record>& records) {
  const int fd = ::open(path, O_RDONLY | O_CLOEXEC);
  struct stat info{};
  if (fd < 0 || ::fstat(fd, &info) != 0) return std::perror(path), false;
  const auto size = static_cast<std::size_t>(info.st_size);
  if (size < sizeof(Header)) return std::fprintf(stderr, "%s: shorter than a header\n", path), false;
  void* map = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
  ::close(fd);
  if (map == MAP_FAILED) return std::perror(path), false;
  Header header;
  std::memcpy(&header, map, sizeof header);
  if (header.magic != kMagic || header.record_bytes != sizeof(Record))
    return std::fprintf(stderr, "%s: not a history of this version\n", path), false;
  records = {reinterpret_cast<const Record*>(static_cast<const char*>(map) + sizeof header),
             (size - sizeof header) / sizeof(Record)};
  return true;
}

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string json(const Record& r) {
  static constexpr const char* kKinds[] = {"none", "write", "read", "drained", "forgotten"};
  static constexpr const char* kClaims[] = {"none", "strong", "bounded", "local"};
  static constexpr const char* kOutcomes[] = {"unknown", "ok", "refused"};
  static constexpr const char* kClasses[] = {"register", "lifetime", "behind"};
  const auto number = [](const char* name, auto value) {
    return ",\"" + std::string(name) + "\":" + std::to_string(value);
  };
  const auto maybe = [&](const char* name, std::int64_t ns) {
    return ns == kOpen ? ",\"" + std::string(name) + "\":null" : number(name, ns);
  };
  return "{\"kind\":" + quoted(kKinds[static_cast<int>(r.kind)]) + number("key", r.key) +
         ",\"class\":" + quoted(kClasses[static_cast<int>(r.key_class)]) + number("process", r.process) +
         number("gateway", r.gateway) + number("begin", r.begin_ns) + maybe("end", r.end_ns) +
         ",\"outcome\":" + quoted(kOutcomes[static_cast<int>(r.outcome)]) + number("version", r.version) +
         number("value", r.value) + maybe("bound", r.bound_ns) + number("lifetime", r.lifetime_ns) +
         number("token", r.token) + ",\"claim\":" + quoted(kClaims[static_cast<int>(r.claim)]) +
         number("flagged", int{r.fallback}) + number("sequenced", int{r.sequenced}) +
         number("in_process", int{r.in_process}) + "}";
}

std::string json(const Verdict& v, std::int64_t spent_ns) {
  const double per_second =
      spent_ns > 0 ? static_cast<double>(v.checked + v.refused_reads) * 1e9 / static_cast<double>(spent_ns) : 0;
  std::string out = "{\"violations\":" + std::to_string(v.violations) + ",\"checked\":" + std::to_string(v.checked) +
                    ",\"checker_ops_per_s\":" + std::to_string(static_cast<std::uint64_t>(per_second)) +
                    ",\"operations\":{";
  const std::pair<const char*, std::uint64_t> counts[] = {
      {"strong_reads", v.strong_reads},     {"bounded_reads", v.bounded_reads},
      {"local_reads", v.local_reads},       {"other_reads", v.other_reads},
      {"refused_reads", v.refused_reads},   {"writes_acknowledged", v.writes_acknowledged},
      {"writes_unknown", v.writes_unknown}, {"writes_refused", v.writes_refused},
  };
  for (const auto& [name, count] : counts) out += quoted(name) + ":" + std::to_string(count) + ",";
  out.back() = '}';
  out += ",\"of_these\":{\"flagged\":" + std::to_string(v.flagged_reads) +
         ",\"in_process\":" + std::to_string(v.in_process_reads) + ",\"with_token\":" + std::to_string(v.token_reads) +
         ",\"absent\":" + std::to_string(v.absent_reads) + ",\"final\":" + std::to_string(v.final_reads) +
         ",\"unplaced\":" + std::to_string(v.reads_unplaced) +
         "},\"finals_undecided\":" + std::to_string(v.finals_undecided) + ",\"by_rule\":{";
  for (const auto& [rule, count] : v.by_rule) out += quoted(rule) + ":" + std::to_string(count) + ",";
  if (out.back() == ',') out.pop_back();
  out += "},\"first\":[";
  for (const Violation& violation : v.first) {
    out += "{\"rule\":" + quoted(violation.rule) + ",\"what\":" + quoted(violation.what) +
           ",\"record\":" + json(violation.record);
    if (violation.witness.kind != Kind::kNone) out += ",\"witness\":" + json(violation.witness);
    out += "},";
  }
  if (out.back() == ',') out.pop_back();
  return out + "]}";
}

// One writer a key and eight readers, none of whom lies: what a long run looks like.
std::vector<std::vector<Record>> made_up(std::uint64_t records) {
  constexpr std::uint32_t kKeys = 64;
  constexpr std::uint64_t kReadsPerWrite = 50;
  std::vector<std::vector<Record>> logs(9);
  std::uint64_t versions[kKeys] = {};
  std::int64_t now = 1'000'000;
  for (std::uint64_t i = 0; i < records; ++i, now += 1'000) {
    Record record;
    record.key = static_cast<std::uint32_t>(i / 16 * 2654435761u >> 7) % kKeys;
    record.begin_ns = now;
    record.end_ns = now + 900;
    record.outcome = Outcome::kOk;
    const bool write = i % kReadsPerWrite == 0 || versions[record.key] == 0;
    if (write) versions[record.key] = i + 1;
    record.kind = write ? Kind::kWrite : Kind::kRead;
    record.version = record.value = versions[record.key];
    record.sequenced = write;
    record.claim = i % 3 == 0 ? Claim::kStrong : Claim::kBounded;
    record.bound_ns = 100;
    logs[write ? 8 : i % 8].push_back(record);
  }
  return logs;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::span<const Record>> logs;
  std::vector<std::vector<Record>> own;
  if (argc == 3 && std::string_view(argv[1]) == "--measure") {
    std::uint64_t count = 0;
    const std::string_view text = argv[2];
    if (std::from_chars(text.data(), text.data() + text.size(), count).ec != std::errc() || count == 0 ||
        count > 200'000'000)
      return std::fprintf(stderr, "history-check: --measure %s: 1 to 200000000\n", argv[2]), 2;
    own = made_up(count);
    logs.assign(own.begin(), own.end());
  } else if (argc < 2 || argv[1][0] == '-') {
    return std::fprintf(stderr, "usage: history-check LOG ... | history-check --measure N\n"), 2;
  }
  for (int i = 1; i < argc && own.empty(); ++i) {
    std::span<const Record> records;
    if (!map_log(argv[i], records)) return 2;
    logs.push_back(records);
  }
  const std::int64_t from = now_ns();
  const Verdict verdict = judge(logs);
  std::printf("%s\n", json(verdict, now_ns() - from).c_str());
  return verdict.violations == 0 ? 0 : 1;
}
