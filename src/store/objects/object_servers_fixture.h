// For tests: a Ceph object gateway and an Azurite of the test program's own, started when the first test asks for them.
// Both verify signatures; a server that does not would prove nothing.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "base/wall_clock.h"
#include "codec/hmac.h"
#include "store/models/test_folder.h"
#include "wire/http/server_fixture.h"
#include "wire/http/web_client.h"

namespace tidelock {

inline std::string random_uuid() {
  std::ifstream in("/proc/sys/kernel/random/uuid");
  std::string text;
  in >> text;
  return text;
}

// mon, osd and radosgw with everything in memory.
class RadosGateway {
 public:
  static constexpr const char* kAccessKey = "TIDELOCKTESTACCESS";
  static constexpr const char* kSecret = "TideLockTestSecretKey/+forRadosgw";
  static constexpr const char* kMissing =
      "radosgw, ceph-mon and ceph-osd are not installed: ./dev setup --with objects";

  static bool installed() {
    return !program_path("radosgw").empty() && !program_path("ceph-mon").empty() && !program_path("ceph-osd").empty();
  }
  // The one of this program; null when it did not come up, and then a test has failed.
  static RadosGateway* running() {
    static RadosGateway* one = [] {
      testing::AddGlobalTestEnvironment(new End);
      std::string said;
      for (int attempt = 0; attempt < 3; ++attempt) {  // another process may have taken a port that was free
        instance() = std::make_unique<RadosGateway>();
        if (instance()->start(said)) break;
      }
      EXPECT_TRUE(instance()->up_) << said;
      return instance().get();
    }();
    return one->up_ ? one : nullptr;
  }
  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  void make_bucket(const std::string& bucket) const {
    const WebSignature signature{"us-east-1", kAccessKey, kSecret};
    WebClient web{WebOptions{}};
    WebRequest request;
    request.method = "PUT";
    request.url = url() + "/" + bucket;
    request.headers = {{"x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}};
    request.signature = &signature;
    const auto answer = web.perform(request);
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->status, 200) << answer->body;
  }

 private:
  class End : public testing::Environment {
   public:
    void TearDown() override { instance().reset(); }
  };
  static std::unique_ptr<RadosGateway>& instance() {
    static std::unique_ptr<RadosGateway> one;
    return one;
  }
  bool start(std::string& said) {
    const std::string dir = folder_.path(), fsid = random_uuid(), osd = random_uuid();
    const std::vector<int> ports = free_ports(2);
    const std::string mon = "[v1:127.0.0.1:" + std::to_string(ports[0]) + "]";
    port_ = ports[1];
    for (const char* sub : {"/mon", "/osd", "/run"}) std::filesystem::create_directory(dir + sub);
    std::ofstream conf(dir + "/ceph.conf");
    conf << "[global]\nfsid = " << fsid << "\nmon host = " << mon
         << "\nauth cluster required = none\nauth service required = none\nauth client required = none\n"
            "ms bind msgr2 = false\npublic addr = 127.0.0.1\ncluster addr = 127.0.0.1\nrun dir = "
         << dir << "/run\nadmin socket = " << dir << "/run/$name.asok\nlog file = " << dir
         << "/$name.log\npid file = " << dir << "/run/$name.pid\ncrash dir = " << dir << "/run\nmon data = " << dir
         << "/mon\nosd data = " << dir
         << "/osd\nosd objectstore = memstore\nmemstore device bytes = 1073741824\nosd pool default size = 1\n"
            "osd pool default min size = 1\nmon allow pool size one = true\nosd pool default pg num = 1\n"
            "osd pool default pgp num = 1\nosd crush chooseleaf type = 0\nmon max pg per osd = 1000\n"
            "rgw rados pool pg num min = 1\n[client.rgw]\nrgw frontends = beast endpoint=127.0.0.1:"
         << port_ << "\n";
    conf.close();
    const std::vector<std::string> with{"CEPH_CONF=" + dir + "/ceph.conf"};
    const std::string out = dir + "/out";
    // Each ends in a second or two, or waits for ever where a daemon did not come up: then the next attempt is due.
    const auto run = [&](std::vector<std::string> command) {
      command.insert(command.begin(), {"timeout", "40"});
      return ObjectProcess(command, out, with).wait() == 0;
    };
    const auto keep = [&](const std::vector<std::string>& command) {
      daemons_.push_back(std::make_unique<ObjectProcess>(command, out, with));
    };
    bool good = run({"monmaptool", "--create", "--fsid", fsid, "--addv", "a", mon, dir + "/monmap"}) &&
                run({"ceph-mon", "-i", "a", "--mkfs", "--monmap", dir + "/monmap"});
    keep({"ceph-mon", "-i", "a", "-f"});
    good = good && run({"ceph", "osd", "new", osd}) && run({"ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd});
    keep({"ceph-osd", "-i", "0", "-f"});
    good = good && run({"radosgw-admin", "user", "create", "--uid", "test", "--display-name", "test", "--access-key",
                        kAccessKey, "--secret-key", kSecret});
    keep({"radosgw", "-n", "client.rgw", "-f"});
    WebClient web{WebOptions{}};
    WebRequest look;
    look.url = url() + "/";
    look.timeout_ms = 2'000;
    // Listening is too early: it must answer.
    up_ = good && comes_up([&] {
            const auto answer = web.perform(look);
            return answer && answer->body.find("ListAllMyBuckets") != std::string::npos;
          });
    std::ifstream output(out);
    said.assign(std::istreambuf_iterator<char>(output), {});
    return up_;
  }

  TestFolder folder_;
  int port_ = 0;
  bool up_ = false;
  std::vector<std::unique_ptr<ObjectProcess>> daemons_;
};

class Azurite {
 public:
  static constexpr const char* kAccount = "tidelockaccount";
  static constexpr const char* kMissing =
      "azurite is not installed: ./dev setup --with azurite, or TIDELOCK_AZURITE=/path/of/azurite-blob";
  static std::string key() { return to_base64("the key of the account of this test, nobody else's"); }

  // azurite-blob: named by the environment, else .dev/azurite of the checkout that this program was built in.
  static std::string program() {
    if (const char* named = std::getenv("TIDELOCK_AZURITE"); named != nullptr) return named;
    std::error_code ignored;
    for (auto at = std::filesystem::read_symlink("/proc/self/exe", ignored).parent_path(); at != at.root_path();
         at = at.parent_path()) {
      const auto candidate = at / ".dev/azurite/node_modules/.bin/azurite-blob";
      if (std::filesystem::exists(candidate, ignored)) return candidate.string();
    }
    return {};
  }
  static Azurite* running() {
    static Azurite* one = [] {
      testing::AddGlobalTestEnvironment(new End);
      instance() = std::make_unique<Azurite>();
      instance()->start();
      return instance().get();
    }();
    return one->up_ ? one : nullptr;
  }
  int port() const { return port_; }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_) + "/" + kAccount; }
  void make_container(const std::string& container) const {
    const std::string path = std::string("/") + kAccount + "/" + container;
    const std::string date = "x-ms-date:" + date_now() + "\nx-ms-version:2021-12-02\n";
    const std::string text =
        "PUT\n\n\n\n\napplication/octet-stream\n\n\n\n\n\n\n" + date + "/" + kAccount + path + "\nrestype:container";
    WebClient web{WebOptions{}};
    WebRequest request;
    request.method = "PUT";
    request.url = "http://127.0.0.1:" + std::to_string(port_) + path + "?restype=container";
    request.headers = {{"x-ms-date", date_now()},
                       {"x-ms-version", "2021-12-02"},
                       {"Content-Type", "application/octet-stream"},
                       {"Authorization", std::string("SharedKey ") + kAccount + ":" +
                                             to_base64(hmac_sha256(*from_base64(key()), text))}};
    const auto answer = web.perform(request);
    ASSERT_TRUE(answer) << answer.error().message;
    ASSERT_EQ(answer->status, 201) << answer->body;
  }
  // A service SAS for the container: `rights` of "racwdl".
  static std::string sas(const std::string& container, const std::string& rights) {
    const std::string until = "2099-01-01T00:00:00Z";
    const std::string text =
        rights + "\n\n" + until + "\n/blob/" + kAccount + "/" + container + "\n\n\n\n2021-12-02\nc\n\n\n\n\n\n\n";
    return "sp=" + rights + "&se=" + percent_encode(until) +
           "&sv=2021-12-02&sr=c&sig=" + percent_encode(to_base64(hmac_sha256(*from_base64(key()), text)));
  }

 private:
  class End : public testing::Environment {
   public:
    void TearDown() override { instance().reset(); }
  };
  static std::unique_ptr<Azurite>& instance() {
    static std::unique_ptr<Azurite> one;
    return one;
  }
  static std::string date_now() {
    const time_t seconds = static_cast<time_t>(wall_ms_now() / 1'000);
    std::tm t{};
    ::gmtime_r(&seconds, &t);
    char text[64];
    std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &t);
    return text;
  }
  void start() {
    port_ = free_ports(1)[0];
    process_ = std::make_unique<ObjectProcess>(
        std::vector<std::string>{program(), "--blobHost", "127.0.0.1", "--blobPort", std::to_string(port_),
                                 "--inMemoryPersistence", "--disableTelemetry", "--skipApiVersionCheck", "--silent"},
        folder_.path() + "/out", std::vector<std::string>{std::string("AZURITE_ACCOUNTS=") + kAccount + ":" + key()});
    up_ = comes_up([&] {
      const int fd = connect_to_loopback(port_);
      if (fd >= 0) ::close(fd);
      return fd >= 0;
    });
    std::ifstream said(folder_.path() + "/out");
    EXPECT_TRUE(up_) << std::string(std::istreambuf_iterator<char>(said), {});
  }

  TestFolder folder_;
  int port_ = 0;
  bool up_ = false;
  std::unique_ptr<ObjectProcess> process_;
};

}  // namespace tidelock
