// The words of a configuration for values of enumerations, in their order: for who reads and who prints one.
#pragma once

namespace tidelock {

inline constexpr const char* kModelStore[] = {"folder", "s3", "azure"};
inline constexpr const char* kCredentials[] = {"environment", "file", "metadata"};
inline constexpr const char* kConsistency[] = {"eventual", "bounded", "strong"};
inline constexpr const char* kOnStale[] = {"refresh", "wait", "fallback", "fail"};
inline constexpr const char* kScope[] = {"gateway", "site", "region"};
inline constexpr const char* kL2Engine[] = {"rocksdb", "redis", "memcached"};
inline constexpr const char* kTlsClients[] = {"any", "optional", "certified"};
inline constexpr const char* kRedisIo[] = {"auto", "epoll", "io_uring"};
inline constexpr const char* kMode[] = {"local", "through", "behind"};

}  // namespace tidelock
