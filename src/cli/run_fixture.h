// For tests: a command line run inside the test, with what it printed.
#pragma once

#include <signal.h>

#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "cli/cli.h"
#include "cli/common.h"

namespace tidelock {

// What a stream is given, while this lives.
class Captured {
 public:
  explicit Captured(std::ostream& stream) : stream_(stream), before_(stream.rdbuf(text_.rdbuf())) {}
  ~Captured() { stream_.rdbuf(before_); }
  std::string text() const { return text_.str(); }

 private:
  std::ostringstream text_;
  std::ostream& stream_;
  std::streambuf* const before_;
};

struct Ran {
  int code = 0;
  std::string out, err;
  Json json() const { return Json::parse(out, nullptr, false); }
};
inline Ran run(std::vector<std::string> words) {
  words.insert(words.begin(), "tidelock");
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  sigset_t mask;  // `hub` and `edge` block the signals that end them
  pthread_sigmask(SIG_SETMASK, nullptr, &mask);
  Ran ran;
  {
    const Captured out(std::cout), err(std::cerr);
    ran.code = run_cli(static_cast<int>(argv.size()), argv.data(), {});
    ran.out = out.text();
    ran.err = err.text();
  }
  pthread_sigmask(SIG_SETMASK, &mask, nullptr);
  return ran;
}

}  // namespace tidelock
