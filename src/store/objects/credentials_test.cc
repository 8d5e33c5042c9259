// Where credentials come from, when they are renewed, and that no message and no log shows them.
#include "store/objects/credentials.h"

#include <sys/stat.h>

#include <fstream>

#include "codec/hmac.h"
#include "store/models/test_folder.h"
#include "store/objects/secret_watch_fixture.h"
#include "wire/http/server_fixture.h"

namespace tidelock {
namespace {

constexpr std::uint64_t kNoon = 1'767'355'200'000;  // 2026-01-02T12:00:00Z

class CredentialsTest : public testing::Test {
 protected:
  ~CredentialsTest() override {
    for (const char* name : kVariables) ::unsetenv(name);
  }
  std::string write(const std::string& text, mode_t mode = 0600) {
    const std::string path = folder_.path() + "/credentials";
    std::ofstream(path) << text;
    ::chmod(path.c_str(), mode);
    return path;
  }
  CredentialSource source(ObjectEngine engine, CredentialKind kind, const std::string& file_or_url = {}) {
    ObjectStoreOptions options;
    options.engine = engine;
    options.credentials = kind;
    if (kind == CredentialKind::kMetadata)
      options.metadata_url = file_or_url;
    else
      options.credentials_file = file_or_url;
    return CredentialSource(options, [this] { return now_; });
  }
  static void refused(const Result<Credentials>& got, Code code, const std::string& says, const std::string& why) {
    ASSERT_FALSE(got) << why;
    SecretWatch::failed(got.error());
    EXPECT_EQ(got.error().code, code) << why << ": " << got.error().message;
    EXPECT_NE(got.error().message.find(says), std::string::npos) << why << ": " << got.error().message;
    for (const char* secret : {"hunter2", "c2VjcmV0", "sig=abc"})
      EXPECT_EQ(got.error().message.find(secret), std::string::npos) << why << ": shows a secret";
  }
  static constexpr const char* kVariables[] = {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
                                               "AWS_SESSION_TOKEN", "AZURE_STORAGE_ACCOUNT",
                                               "AZURE_STORAGE_KEY", "AZURE_STORAGE_SAS_TOKEN"};
  TestFolder folder_;
  std::uint64_t now_ = kNoon;
  const SecretWatch watch_{{"hunter2", "c2VjcmV0", "sig=abc", "the-token", "session-"}};
};

TEST_F(CredentialsTest, ComeFromTheEnvironment) {
  auto s3 = source(ObjectEngine::kS3, CredentialKind::kEnvironment);
  refused(s3.get(), Code::kInvalid, "AWS_ACCESS_KEY_ID", "nothing is set");
  ::setenv("AWS_ACCESS_KEY_ID", "id", 1);
  ::setenv("AWS_SECRET_ACCESS_KEY", "hunter2", 1);
  EXPECT_EQ(s3.get().value_or(Credentials{}), (Credentials{"id", "hunter2", "", "", 0}));
  ::setenv("AWS_SESSION_TOKEN", "session", 1);
  s3.refused({"id", "hunter2", "", "", 0});
  EXPECT_EQ(s3.get().value_or(Credentials{}).session, "session") << "read anew once they were refused";
  auto azure = source(ObjectEngine::kAzure, CredentialKind::kEnvironment);
  ::setenv("AZURE_STORAGE_ACCOUNT", "account", 1);
  refused(azure.get(), Code::kInvalid, "AZURE_STORAGE_KEY", "an account alone");
  ::setenv("AZURE_STORAGE_KEY", "hunter2!", 1);
  refused(azure.get(), Code::kInvalid, "not Base64", "a key that is none");
  ::setenv("AZURE_STORAGE_KEY", "c2VjcmV0", 1);
  EXPECT_EQ(azure.get().value_or(Credentials{}).secret, "secret");
  ::setenv("AZURE_STORAGE_SAS_TOKEN", "?sv=1&sig=abc", 1);
  azure.refused(*azure.get());
  EXPECT_EQ(azure.get().value_or(Credentials{}), (Credentials{"account", "", "", "sv=1&sig=abc", 0}));
  ::setenv("AZURE_STORAGE_SAS_TOKEN", "sig=abc\r\nX-Other: 1", 1);
  auto injected = source(ObjectEngine::kAzure, CredentialKind::kEnvironment);
  refused(injected.get(), Code::kInvalid, "a letter that none can hold", "a header within a token");
}

TEST_F(CredentialsTest, ComeFromAFileOfTheirOwner) {
  const struct {
    const char* why;
    std::string text;
    mode_t mode;
    Code code;
    const char* says;
  } cases[] = {
      {"as a cloud's own tool writes it",
       "# mine\n[other]\naws_secret_access_key = x\n\n[default]\naws_access_key_id = "
       "id\r\naws_secret_access_key=hunter2\n",
       0600, Code::kOk, ""},
      {"without a section", "aws_access_key_id=id\naws_secret_access_key = hunter2", 0400, Code::kOk, ""},
      {"the group may read", "aws_access_key_id=id\naws_secret_access_key=hunter2\n", 0640, Code::kDenied, "chmod 600"},
      {"everybody may read", "aws_access_key_id=id\naws_secret_access_key=hunter2\n", 0604, Code::kDenied, "chmod 600"},
      {"only half of it", "aws_secret_access_key=hunter2\n", 0600, Code::kInvalid, "access key"},
      {"only another's section", "[other]\naws_access_key_id=id\naws_secret_access_key=hunter2\n", 0600, Code::kInvalid,
       "access key"},
      {"no name", "aws_access_key_id=id\nhunter2\n", 0600, Code::kInvalid, "credentials:2: must be NAME = VALUE"},
      {"too large", std::string(70'000, '#'), 0600, Code::kInvalid, "more than 65536"},
  };
  for (const auto& c : cases) {
    auto from = source(ObjectEngine::kS3, CredentialKind::kFile, write(c.text, c.mode));
    const auto got = from.get();
    if (c.code == Code::kOk) {
      ASSERT_TRUE(got) << c.why << ": " << got.error().message;
      EXPECT_EQ(*got, (Credentials{"id", "hunter2", "", "", 0})) << c.why;
    } else {
      refused(got, c.code, c.says, c.why);
    }
    std::filesystem::remove(folder_.path() + "/credentials");
  }
  auto absent = source(ObjectEngine::kS3, CredentialKind::kFile, folder_.path() + "/none");
  refused(absent.get(), Code::kInvalid, "No such file", "absent");
  auto folder = source(ObjectEngine::kS3, CredentialKind::kFile, folder_.path());
  refused(folder.get(), Code::kInvalid, "not a file", "a folder");
}

TEST_F(CredentialsTest, AReplacedFileIsReadAgain) {
  auto from = source(ObjectEngine::kAzure, CredentialKind::kFile,
                     write("azure_storage_account=a\nazure_storage_key=c2VjcmV0\n"));
  EXPECT_EQ(from.get().value_or(Credentials{}).id, "a");
  const std::string path = write("azure_storage_account=b\nazure_storage_key=c2VjcmV0\n");
  const timespec times[2] = {{1'900'000'000, 0}, {1'900'000'000, 0}};  // whatever the file system's resolution
  ::utimensat(AT_FDCWD, path.c_str(), times, 0);
  EXPECT_EQ(from.get().value_or(Credentials{}).id, "b");
}

// A machine's metadata service as its documentation has it: a token first, by PUT with a lifetime, then the role's name
// and its credentials, each only with the token.
class Metadata {
 public:
  std::atomic<int> given{0};
  std::atomic<bool> up{true};
  std::string expiration = "2026-01-02T13:00:00Z", code = "Success", role = "gateway-role";
  ScriptedServer server{[this](const std::string& head) { return ScriptedServer::Plan{answer(head)}; }};

 private:
  std::string answer(const std::string& head) {
    const auto has = [&](const char* text) { return head.find(text) != std::string::npos; };
    if (!up) return ScriptedServer::answer(500, "");
    if (head.starts_with("PUT /latest/api/token ")) {
      return has("X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n") ? ScriptedServer::answer(200, "the-token\n")
                                                                    : ScriptedServer::answer(400, "");
    }
    if (!has("X-aws-ec2-metadata-token: the-token\r\n")) return ScriptedServer::answer(401, "");
    if (head.starts_with("GET /latest/meta-data/iam/security-credentials/ "))
      return role.empty() ? ScriptedServer::answer(404, "") : ScriptedServer::answer(200, role);
    if (head.starts_with("GET /latest/meta-data/iam/security-credentials/gateway-role ")) {
      const std::string number = std::to_string(++given);
      return ScriptedServer::answer(200, R"({"Code":")" + code + R"(","Type":"AWS-HMAC","AccessKeyId":"id-)" + number +
                                             R"(","SecretAccessKey":"hunter2","Token":"session-)" + number +
                                             R"(","Expiration":")" + expiration + "\"}");
    }
    return ScriptedServer::answer(404, "");
  }
};

TEST_F(CredentialsTest, OfTheMachineAreRenewedBeforeTheyExpire) {
  Metadata machine;
  auto from = source(ObjectEngine::kS3, CredentialKind::kMetadata, machine.server.url());
  const auto first = from.get();
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(*first, (Credentials{"id-1", "hunter2", "session-1", "", kNoon + 3'600'000}));
  now_ = kNoon + 54 * 60'000;
  EXPECT_EQ(from.get().value_or(Credentials{}).id, "id-1") << "six minutes left: nothing is asked";
  now_ = kNoon + 56 * 60'000;
  machine.up = false;
  EXPECT_EQ(from.get().value_or(Credentials{}).id, "id-1") << "due, and the service is away: the old ones still hold";
  const std::size_t asked = machine.server.heads().size();
  EXPECT_EQ(from.get().value_or(Credentials{}).id, "id-1");
  EXPECT_EQ(machine.server.heads().size(), asked) << "and it is not asked by each call";
  machine.up = true;
  machine.expiration = "2026-01-02T14:00:00Z";
  now_ += 11'000;
  EXPECT_EQ(from.get().value_or(Credentials{}).id, "id-2");
  now_ = kNoon + 3 * 3'600'000;
  machine.up = false;
  refused(from.get(), Code::kUnavailable, "metadata service: PUT /latest/api/token: status 500", "expired, and away");
}

TEST_F(CredentialsTest, OfTheMachineAreRefusedWhenTheyMakeNoSense) {
  const struct {
    const char* why;
    std::string code, expiration, role;
    Code expected;
    const char* says;
  } cases[] = {{"no role", "Success", "2026-01-02T13:00:00Z", "", Code::kUnavailable, "has this machine a role?"},
               {"another role than there is", "Success", "2026-01-02T13:00:00Z", "a/../b", Code::kUnavailable, "404"},
               {"it failed", "AssumeRoleUnauthorizedAccess", "2026-01-02T13:00:00Z", "gateway-role", Code::kUnavailable,
                "no credentials for this machine's role"},
               {"no time", "Success", "tomorrow", "gateway-role", Code::kCorrupt, "Expiration"}};
  for (const auto& c : cases) {
    Metadata machine;
    machine.code = c.code;
    machine.expiration = c.expiration;
    machine.role = c.role;
    auto from = source(ObjectEngine::kS3, CredentialKind::kMetadata, machine.server.url());
    refused(from.get(), c.expected, c.says, c.why);
  }
  ScriptedServer noise([](const std::string& head) {
    return ScriptedServer::Plan{ScriptedServer::answer(200, head.starts_with("PUT") ? "token" : "[{\"hunter2\"")};
  });
  auto from = source(ObjectEngine::kS3, CredentialKind::kMetadata, noise.url());
  refused(from.get(), Code::kUnavailable, "no credentials for this machine's role", "not JSON");
}

}  // namespace
}  // namespace tidelock
