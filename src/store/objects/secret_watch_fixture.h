// For tests: everything that is logged while it lives, at every level, holds none of the secrets in play.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "base/assert.h"
#include "store/objects/object_store.h"
#include "telemetry/log.h"

namespace tidelock {

class SecretWatch {
 public:
  explicit SecretWatch(std::vector<std::string> secrets) : secrets_(std::move(secrets)) {
    fd_ = ::memfd_create("log", MFD_CLOEXEC);
    TIDELOCK_ASSERT(fd_ >= 0);
    LogOptions options;
    options.level = LogLevel::kDebug;
    options.format = LogFormat::kJson;
    options.fd = fd_;
    set_log_options(options);
  }
  ~SecretWatch() {
    log(LogLevel::kDebug, "test", kListening);
    set_log_options({});
    std::string logged;
    char buffer[4'096];
    for (ssize_t got = 0; (got = ::pread(fd_, buffer, sizeof buffer, static_cast<off_t>(logged.size()))) > 0;)
      logged.append(buffer, static_cast<std::size_t>(got));
    ::close(fd_);
    EXPECT_NE(logged.find(kListening), std::string::npos) << "nothing was heard, so nothing is proven";
    for (const std::string& secret : secrets_)
      EXPECT_EQ(logged.find(secret), std::string::npos) << "the log shows a secret: " << logged;
  }
  SecretWatch(const SecretWatch&) = delete;
  SecretWatch& operator=(const SecretWatch&) = delete;

  // What a hub logs of a store: its name when it pulls from it, and the words of its errors.
  static void pulled(const ObjectStore& store) { log(LogLevel::kInfo, "test", "pulled", {{"from", store.describe()}}); }
  static void failed(const Error& error) { log(LogLevel::kWarn, "test", "failed", {{"message", error.message}}); }

 private:
  static constexpr const char* kListening = "the watch listens";
  const std::vector<std::string> secrets_;
  int fd_ = -1;
};

}  // namespace tidelock
