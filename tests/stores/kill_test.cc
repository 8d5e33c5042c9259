// A process under load on a store is killed with SIGKILL at random instants, again and again. It tells its parent
// through a pipe what it was promised; the parent keeps that in a file, opens the store after the kill and compares:
// the rows are those of a prefix of the script that holds everything acknowledged (with the kernel: a kill takes
// nothing of that).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <fstream>
#include <memory>

#include "base/rng.h"
#include "store/kv/kv_seam.h"
#include "tests/stores/folder.h"
#include "tests/stores/script.h"
#include "tests/stores/settings.h"

extern char** environ;

namespace tidelock::stores {
namespace {

constexpr std::uint64_t kForEverSteps = 1u << 20;
constexpr std::size_t kWriteBuffer = 64u << 10;  // flushes and compactions meet kills as well

const Script& script_named(const std::string& name) { return name == kEdgeScript.name ? kEdgeScript : kHubScript; }

// kill_test child SCRIPT FOLDER SEED FIRST: opens, says so, and works until it dies.
int child(char** argv) {
  const Script& script = script_named(argv[2]);
  auto kv = open_kv(argv[3], script.families, {nullptr, kWriteBuffer});
  if (!kv) {
    std::fprintf(stderr, "%s\n", kv.error().message.c_str());
    return 3;
  }
  const auto tell = [](const CountedKv::Counts& counts) {
    if (::write(STDOUT_FILENO, &counts, sizeof counts) != sizeof counts) ::_exit(4);
  };
  CountedKv counted(**kv, nullptr, {}, tell);
  tell({});
  const Ended ended =
      script.run(counted, std::strtoull(argv[4], nullptr, 10), std::strtoull(argv[5], nullptr, 10), kForEverSteps);
  for (const std::string& wrong : ended.wrong) std::fprintf(stderr, "%s\n", wrong.c_str());
  if (!ended.written) std::fprintf(stderr, "%s\n", ended.written.error().message.c_str());
  return 5;
}

class Child {
 public:
  Child(const Script& script, const std::string& folder, std::uint64_t seed, std::uint64_t first) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    ::posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    const std::vector<std::string> words = {"/proc/self/exe",     "child", script.name, folder, std::to_string(seed),
                                            std::to_string(first)};
    std::vector<char*> argv;
    for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
    argv.push_back(nullptr);
    if (::posix_spawn(&pid_, argv[0], &actions, nullptr, argv.data(), environ) != 0) pid_ = -1;
    ::posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    from_ = ends[0];
  }
  ~Child() {
    kill();
    if (from_ >= 0) ::close(from_);
  }
  // Takes what it says until `wanted` words came or it has ended. False: it ended.
  bool listen(std::uint64_t wanted) {
    for (CountedKv::Counts word; words_ < wanted; ++words_) {
      if (!take(word)) return false;
      counts_ = word;
    }
    return true;
  }
  // SIGKILL, and what it had still said.
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    killed_ = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    for (CountedKv::Counts word; take(word);) counts_ = word;
  }
  bool killed() const { return killed_; }
  const CountedKv::Counts& counts() const { return counts_; }

 private:
  bool take(CountedKv::Counts& word) {
    std::size_t got = 0;
    while (got < sizeof word) {
      const ssize_t n = ::read(from_, reinterpret_cast<char*>(&word) + got, sizeof word - got);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return false;
      got += static_cast<std::size_t>(n);
    }
    return true;
  }
  pid_t pid_ = -1;
  int from_ = -1;
  bool killed_ = false;
  std::uint64_t words_ = 0;
  CountedKv::Counts counts_;
};

// The script in memory, for at least so many commits.
std::unique_ptr<FakeKv> in_memory(const Script& script, const Rows& rows, std::uint64_t seed, std::uint64_t first,
                                  std::uint64_t commits) {
  for (std::uint64_t steps = 64;; steps *= 2) {
    auto kv = std::make_unique<FakeKv>(rows);
    static_cast<void>(script.run(*kv, seed, first, steps));
    if (kv->states().size() > commits || steps >= kForEverSteps) return kv;
  }
}

void kill_again_and_again(const Script& script) {
  const std::uint64_t cycles = setting("TIDELOCK_KILL_CYCLES", 20);
  const std::uint64_t seed = setting("TIDELOCK_SEED", 1);
  Folder folder;
  const std::string db = folder.path("db");
  Rng rng(seed);
  Rows rows;
  std::uint64_t commits = 0, unacknowledged = 0;
  for (std::uint64_t cycle = 0; cycle < cycles; ++cycle) {
    const std::uint64_t script_seed = rng.next();
    const std::uint64_t first = cycle * kForEverSteps;
    CountedKv::Counts counts;
    {
      Child process(script, db, script_seed, first);
      // By what it has said, so that the kills spread over its life however fast the machine is; then a moment that
      // nobody chose. One in eight dies while it opens.
      const bool early = rng.one_in(8);
      const bool alive = early || process.listen(1 + rng.below(rng.one_in(4) ? 400 : 60));
      pollfd nothing{-1, 0, 0};
      ::poll(&nothing, 1, static_cast<int>(rng.below(early ? 12 : 3)));
      process.kill();
      ASSERT_TRUE(alive && process.killed())
          << script.name << ": the process ended by itself in cycle " << cycle << " (TIDELOCK_SEED=" << seed << ")";
      counts = process.counts();
    }
    std::ofstream(folder.path("expected"), std::ios::app)
        << cycle << " " << script_seed << " " << counts.issued << " " << counts.acked << " " << counts.durable << "\n";
    auto kv = Kv::open(db, script.families);
    ASSERT_TRUE(kv) << script.name << ": cycle " << cycle << " (TIDELOCK_SEED=" << seed << "): " << kv.error().message;
    auto found = all_rows(**kv, script.families);
    ASSERT_TRUE(found) << found.error().message;
    const auto reference = in_memory(script, rows, script_seed, first, counts.issued + 1);
    // One commit may have begun without a word.
    const std::string wrong = judge(*found, *reference, counts.acked, counts.issued + 1);
    ASSERT_EQ(wrong, "") << script.name << ": cycle " << cycle << " (TIDELOCK_SEED=" << seed << ")";
    unacknowledged += hash_of(*found) != reference->states()[counts.acked] ? 1 : 0;
    rows = std::move(*found);
    commits += counts.acked;
  }
  std::printf(
      "%s: %llu kills, %llu acknowledged commits, none lost; %llu kills between a write and its acknowledgement\n",
      script.name, static_cast<unsigned long long>(cycles), static_cast<unsigned long long>(commits),
      static_cast<unsigned long long>(unacknowledged));
  EXPECT_GT(commits, cycles) << "hardly any load";
}

TEST(Kill, AnEdgesStoreKeepsWhatItAcknowledged) { kill_again_and_again(kEdgeScript); }  // I8, R8
TEST(Kill, AHubsStoreKeepsWhatItAcknowledged) { kill_again_and_again(kHubScript); }     // I7, R8

}  // namespace
}  // namespace tidelock::stores

int main(int argc, char** argv) {
  if (argc == 6 && std::strcmp(argv[1], "child") == 0) return tidelock::stores::child(argv);
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
