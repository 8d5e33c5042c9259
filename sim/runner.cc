// Each job is a child that runs every J-th seed and writes one line per seed to its pipe: "begin SEED", then "end SEED
// ..." with the numbers of the report and, at the end of the line, the violation if there was one.

#include "sim/runner.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/assert.h"
#include "sim/mutants.h"

namespace tidelock::sim {
namespace {

// The numbers of a report, in the order in which they travel.
template <class Report, class Each>
void each_number(Report& report, Each each) {
  each(report.trace_hash);
  each(report.events);
  each(report.reads);
  each(report.page_reads);
  each(report.strong_page_reads);
  each(report.strong_reads);
  each(report.writes);
  each(report.activations);
  each(report.terms);
  each(report.faults);
  each(report.clock_faults);
  each(report.broken_clock_answers);
  each(report.lease_lapses_measured);
  each(report.recalls_measured);
  each(report.faults_ns);
  each(report.virtual_ns);
  each(report.violated_at);
}

std::string line_of(const SeedResult& result) {
  std::string line = "end " + std::to_string(result.seed);
  each_number(result.report, [&](const auto& number) { line += " " + std::to_string(number); });
  std::string violation = result.report.violation;
  std::replace(violation.begin(), violation.end(), '\n', ' ');
  return line + " " + violation + "\n";
}

SeedResult parse_line(const std::string& line) {
  SeedResult result;
  const char* at = line.c_str() + std::strlen("end");
  const auto next = [&](auto& number) {
    char* end = nullptr;
    number = static_cast<std::decay_t<decltype(number)>>(std::strtoull(at, &end, 10));
    at = end;
  };
  next(result.seed);
  each_number(result.report, next);
  if (*at == ' ') ++at;
  result.report.violation = at;
  return result;
}

void write_all(int to, const std::string& text) {
  for (std::size_t done = 0; done < text.size();) {
    const ssize_t n = write(to, text.data() + done, text.size() - done);
    if (n <= 0) _exit(3);  // the parent has gone
    done += static_cast<std::size_t>(n);
  }
}

[[noreturn]] void child(const SimOptions& options, std::uint64_t first, std::uint64_t step, int to) {
  if (!set_mutant(options.mutant)) _exit(2);
  for (std::uint64_t i = first; i < options.seeds; i += step) {
    SeedResult result;
    result.seed = options.cluster.seed + i;
    write_all(to, "begin " + std::to_string(result.seed) + "\n");
    ClusterOptions cluster = options.cluster;
    cluster.seed = result.seed;
    result.report = Cluster(cluster).run();
    write_all(to, line_of(result));
  }
  _exit(0);
}

struct Job {
  pid_t pid = -1;
  int from = -1;
  std::string buffer;
  std::uint64_t at = 0;  // the seed that it is at
  bool busy = false;
};

void add(RunReport& total, const SeedResult& result) {
  ++total.seeds;
  std::vector<std::uint64_t> numbers;
  each_number(result.report, [&](const auto& number) { numbers.push_back(static_cast<std::uint64_t>(number)); });
  std::size_t i = 0;
  each_number(total.sum, [&](auto& number) { number += static_cast<std::decay_t<decltype(number)>>(numbers[i++]); });
  if (result.report.violation.empty()) return;
  ++total.violations;
  if (total.first_failing_seed == 0 || result.seed < total.first_failing_seed) total.first_failing_seed = result.seed;
  total.failures.push_back(result);
}

Nanos cpu_of(const rusage& usage) {
  return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * kSecond +
         (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * kMicrosecond;
}

// One pass over `first + k * jobs` of what is left to one child. A child that died is started anew behind the seed that
// killed it.
void start(Job& job, const SimOptions& options, std::uint64_t first, std::uint64_t step) {
  int ends[2];
  TIDELOCK_ASSERT(pipe(ends) == 0);
  std::fflush(nullptr);
  job.pid = fork();
  TIDELOCK_ASSERT(job.pid >= 0);
  if (job.pid == 0) {
    close(ends[0]);
    child(options, first, step, ends[1]);
  }
  close(ends[1]);
  job.from = ends[0];
  job.buffer.clear();
  job.busy = false;
}

}  // namespace

double RunReport::cluster_hours_per_cpu_minute() const {
  if (cpu_ns == 0) return 0;
  return (static_cast<double>(sum.faults_ns) / 3'600) / (static_cast<double>(cpu_ns) / 60);
}

RunReport run_seeds(const SimOptions& options, std::uint64_t failures_most,
                    const std::function<void(const SeedResult&)>& on_seed) {
  RunReport total;
  const auto step =
      static_cast<std::uint64_t>(options.jobs > 0 ? options.jobs : std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  std::vector<Job> jobs(std::min(step, options.seeds));
  for (std::uint64_t i = 0; i < jobs.size(); ++i) start(jobs[i], options, i, step);
  std::size_t running = jobs.size();
  bool enough = false;
  const auto seen = [&](const SeedResult& result) {
    add(total, result);
    on_seed(result);
    enough = failures_most != 0 && total.violations >= failures_most;
  };
  while (running > 0) {
    std::vector<pollfd> waits;
    for (const Job& job : jobs) waits.push_back({job.from, POLLIN, 0});  // a negative descriptor is passed over
    if (poll(waits.data(), waits.size(), -1) < 0) continue;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      Job& job = jobs[i];
      if (job.from < 0 || waits[i].revents == 0) continue;
      char bytes[4096];
      const ssize_t n = read(job.from, bytes, sizeof bytes);
      if (n > 0) {
        job.buffer.append(bytes, static_cast<std::size_t>(n));
        for (std::size_t end = 0; (end = job.buffer.find('\n')) != std::string::npos;) {
          const std::string line = job.buffer.substr(0, end);
          job.buffer.erase(0, end + 1);
          if (line.starts_with("begin ")) {
            job.at = std::strtoull(line.c_str() + 6, nullptr, 10);
            job.busy = true;
          } else {
            job.busy = false;
            seen(parse_line(line));
          }
        }
        if (!enough) continue;
      }
      if (enough) kill(job.pid, SIGKILL);
      close(job.from);
      job.from = -1;
      int status = 0;
      rusage usage{};
      wait4(job.pid, &status, 0, &usage);
      total.cpu_ns += cpu_of(usage);
      --running;
      if (enough || !job.busy) continue;
      SeedResult died;
      died.seed = job.at;
      died.report.violation =
          WIFSIGNALED(status) ? std::string("the process died: ") + strsignal(WTERMSIG(status)) : "the process ended";
      seen(died);
      const std::uint64_t next = job.at - options.cluster.seed + step;
      if (next < options.seeds && !enough) {
        start(job, options, next, step);
        ++running;
      }
    }
    if (enough) {
      for (Job& job : jobs) {
        if (job.from < 0) continue;
        kill(job.pid, SIGKILL);
        close(job.from);
        job.from = -1;
        rusage usage{};
        wait4(job.pid, nullptr, 0, &usage);
        total.cpu_ns += cpu_of(usage);
        --running;
      }
    }
  }
  std::sort(total.failures.begin(), total.failures.end(),
            [](const SeedResult& a, const SeedResult& b) { return a.seed < b.seed; });
  return total;
}

std::string to_json(const RunReport& report) {
  const auto field = [](const char* name, std::uint64_t value) {
    return "  \"" + std::string(name) + "\": " + std::to_string(value) + ",\n";
  };
  char speed[32];
  std::snprintf(speed, sizeof speed, "%.2f", report.cluster_hours_per_cpu_minute());
  return "{\n" + field("seeds", report.seeds) + field("violations", report.violations) +
         field("reads", report.sum.reads) + field("strong_reads", report.sum.strong_reads) +
         field("writes", report.sum.writes) + field("activations", report.sum.activations) +
         field("faults", report.sum.faults) + field("terms", report.sum.terms) + field("events", report.sum.events) +
         field("virtual_seconds", static_cast<std::uint64_t>(report.sum.virtual_ns / kSecond)) +
         field("clock_faults_found", report.sum.clock_faults) +
         field("leases_watched", report.sum.lease_lapses_measured) +
         field("recalls_measured", report.sum.recalls_measured) + "  \"cluster_hours_per_cpu_minute\": " + speed +
         ",\n" + "  \"first_failing_seed\": " +
         (report.violations == 0 ? std::string("null") : std::to_string(report.first_failing_seed)) + "\n}\n";
}

}  // namespace tidelock::sim
