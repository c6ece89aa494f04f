#include "services/common/config/config.h"

#include <fstream>
#include <optional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "posthouse/config/v1/config.pb.h"
#include "services/common/cli/cli.h"

namespace posthouse::config {
namespace {

using testing::HasSubstr;

std::string Refusal(const std::string& yaml) {
  const auto config = Parse(yaml, "mail.yaml");
  EXPECT_FALSE(config.ok()) << yaml;
  return std::string(config.status().message());
}

TEST(ConfigTest, ReadsEveryKindOfValue) {
  const auto config = Parse(
      "hostname: mail.example.org\n"
      "drain_timeout: 1h30m\n"
      "http: {address: 127.0.0.2, port: 0}\n"
      "store:\n  block_cache_bytes: 1.5GiB\n"
      "tls:\n  certificates:\n    - certificate_file: a\n      private_key_file: b\n    - certificate_file: c\n"
      "ingress:\n  relay_networks: [10.0.0.0/8, \"::1\"]\n  allow_plaintext_auth: true\n  smtp:\n    port: 25\n"
      "queue:\n  retry_factor: 1.5\n  retry_min: 250ms\n"
      "gateway:\n",
      "mail.yaml");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->hostname(), "mail.example.org");
  EXPECT_EQ(config->drain_timeout().seconds(), 5400);
  EXPECT_TRUE(config->http().has_port());
  EXPECT_EQ(config->store().block_cache_bytes(), 1610612736u);
  EXPECT_EQ(config->tls().certificates_size(), 2);
  EXPECT_EQ(config->tls().certificates(1).certificate_file(), "c");
  EXPECT_EQ(config->ingress().relay_networks(1), "::1");
  EXPECT_TRUE(config->ingress().allow_plaintext_auth());
  EXPECT_EQ(config->ingress().smtp().port(), 25u);
  EXPECT_FALSE(config->ingress().submission().has_port());
  EXPECT_EQ(config->queue().retry_factor(), 1.5);
  EXPECT_EQ(config->queue().retry_min().nanos(), 250000000);
}

TEST(ConfigTest, AnEmptyFileIsAllDefaults) {
  for (const char* empty : {"", "# nothing\n", "---\n"}) EXPECT_TRUE(Parse(empty, "x").ok()) << empty;
}

TEST(ConfigTest, RefusalsNameLineKeyValueAndWhatIsAllowed) {
  struct Case {
    const char* yaml;
    const char* message;
  };
  for (const Case& c : {
           Case{"hostname: a\ningress:\n  smtp:\n    prot: 25\n",
                "mail.yaml:4:5: ingress.smtp.prot: unknown key (did you mean \"port\"?)"},
           Case{"zzzzzzzzzz: 1\n", "unknown key (allowed here: hostname, data_dir"},
           Case{"hostname: a\nhostname: b\n", "mail.yaml:2:1: hostname: this key is written twice"},
           Case{"http:\n  port: 70000\n", "mail.yaml:2:9: http.port: \"70000\": must be at most 65535"},
           Case{"http:\n  port: -1\n", "must be a whole number"},
           Case{"http:\n  port: [1]\n", "http.port: must be a number"},
           Case{"http: 9400\n", "http: must be a mapping of keys"},
           Case{"peers:\n  queue: a:1\n", "peers.queue: must be a list"},
           Case{"drain_timeout: 30\n", "drain_timeout: \"30\" is not a duration"},
           Case{"drain_timeout: -1s\n", "is not a duration"},
           Case{"drain_timeout: {}\n", "must be a duration like"},
           Case{"store: {block_cache_bytes: 5XB}\n", "\"5XB\" is not a size"},
           Case{"ingress: {allow_plaintext_auth: yes}\n", "\"yes\": must be true or false"},
           Case{"routing:\n  transports:\n    - domain: a\n      hots: b\n",
                "mail.yaml:4:7: routing.transports[0].hots: unknown key (did you mean \"host\"?)"},
           Case{"a: [\n", "mail.yaml:2:1: not YAML"},
           Case{"- a\n", "the file: must be a mapping of keys"},
           Case{"hostname: a\n---\nhostname: b\n", "more than one YAML document"},
       }) {
    EXPECT_THAT(Refusal(c.yaml), HasSubstr(c.message)) << c.yaml;
  }
}

TEST(ConfigTest, AMissingFileIsSaidSo) {
  EXPECT_THAT(std::string(LoadFile("/nonexistent/mail.yaml").status().message()),
              HasSubstr("/nonexistent/mail.yaml: cannot read"));
}

// A reload that meets one of these must leave the process running with its old configuration.
TEST(ConfigTest, WhatIsNoFileIsRefusedWithAReason) {
  EXPECT_THAT(std::string(LoadFile(testing::TempDir()).status().message()), HasSubstr("it is a directory"));
  EXPECT_THAT(std::string(LoadFile("/dev/zero").status().message()), HasSubstr("/dev/zero: larger than 4194304 bytes"));
  EXPECT_THAT(std::string(LoadFile("/proc/self/mem").status().message()), HasSubstr("cannot read"));
}

TEST(ConfigTest, ContradictionsAreRefused) {
  struct Case {
    const char* service;
    const char* yaml;
    const char* message;  // "" is OK
  };
  for (const Case& c : {
           Case{"standalone", "data_dir: /tmp/x\n", ""},
           Case{"standalone", "", "data_dir: posthouse-standalone keeps state"},
           Case{"ingress", "peers: {directory: a:1, routing: a:2, queue: [a:3]}\n", ""},
           Case{"mailbox", "data_dir: /x\npeers: {directory: a:1}\nstore: {format: 99}\n",
                "store.format: 99 is newer than this version knows"},
           Case{"ingress", "peers: {directory: a:1, routing: a:2}\n", "peers.queue_shards: posthouse-ingress needs it"},
           Case{"ingress", "peers: {directory: a:1, routing: a:2, queue_shards: [{name: q0, target: a:3}]}\n", ""},
           Case{"ingress",
                "peers: {directory: a:1, routing: a:2, queue: [a:3], queue_shards: [{name: q0, target: a:3}]}\n",
                "says the same as peers.queue"},
           Case{"ingress",
                "peers: {directory: a:1, routing: a:2, queue_shards: [{name: q0, target: a:3}, {name: q0, target: "
                "a:4}]}\n",
                "\"q0\" is a:3 and a:4"},
           Case{"ingress", "peers: {directory: a:1, routing: a:2, queue_shards: [{name: q0}]}\n", "\"q0\" has none"},
           Case{"gateway", "peers: {directory: a:1}\n", "peers.mailbox"},
           Case{"queue", "data_dir: /x\npeers: {routing: a:1, mailbox: [{target: b:1}], directory_shard: d0}\n",
                "peers.directory_shard: is the name of the store at peers.directory"},
           Case{"queue", "data_dir: /x\npeers: {routing: a:1, mailbox: [{name: b}]}\n", "each shard needs a target"},
           Case{"mailbox", "data_dir: /x\n", "peers.directory: posthouse-mailbox needs it"},
           Case{"directory", "data_dir: /x\npeers: {mailbox: [{name: a, target: b}, {target: c}]}\n",
                "each of several shards needs a name of its own"},
           Case{"directory", "data_dir: /x\npeers: {mailbox: [{name: a, target: b}, {name: a, target: c}]}\n",
                "each of several shards needs a name of its own"},
           Case{"directory", "data_dir: /x\nrpc: {certificate_file: a}\n", "set all three (mTLS) or none"},
           Case{"directory", "data_dir: /x\nrpc: {address: 0.0.0.0}\n", "mTLS is required"},
           Case{"directory",
                "data_dir: /x\nrpc: {address: 0.0.0.0, certificate_file: a, private_key_file: b, ca_file: c}\n", ""},
           Case{"directory", "data_dir: /x\nrpc: {allowed_peers: [queue]}\n", "needs mTLS"},
           Case{"directory", "data_dir: /x\nrpc: {identities: [{certificate: a, caller: admin}]}\n", "needs mTLS"},
           Case{"directory",
                "data_dir: /x\nrpc: {certificate_file: a, private_key_file: b, ca_file: c, identities: [{certificate: "
                "a, caller: root}]}\n",
                "rpc.identities.caller: \"root\": must be one of admin, ingress"},
           Case{"queue",
                "data_dir: /x\npeers: {routing: a:1, mailbox: [{name: m0, target: b:1}, {name: m0, target: b:2}]}\n",
                "each of several shards needs a name of its own"},
           Case{"queue",
                "data_dir: /x\npeers: {routing: a:1, mailbox: [{name: m0, target: b:1}, {name: m1, target: b:1}]}\n",
                "two shards have the target b:1: \"m0\" and \"m1\""},
           Case{"ingress", "peers: {directory: a:1, routing: a:2, queue: [a:3, a:3]}\n", "a:3 is there twice"},
           Case{"gateway",
                "rpc: {port: 5000}\ngateway: {imap: {port: 5000}}\npeers: {directory: a:1, mailbox: [{target: b:1}]}\n",
                "rpc.port: 5000 is the port of gateway.imap already"},
           Case{"directory", "data_dir: /x\nlog_level: loud\n", "must be one of debug, info, warning, error"},
           Case{"directory", "data_dir: /x\nhostname: \"a b\"\n", "is not a domain name"},
           Case{"directory", "data_dir: /x\nhttp: {address: example.org}\n", "is not an IP address"},
           Case{"standalone", "data_dir: /x\ntls: {certificates: [{certificate_file: a}]}\n", "tls.certificates[0]"},
           Case{"standalone",
                "data_dir: /x\ntls: {self_signed: true, certificates: [{certificate_file: a, private_key_file: b}]}\n",
                "contradicts"},
           Case{"standalone", "data_dir: /x\ningress: {relay_networks: [everybody]}\n",
                "ingress.relay_networks: \"everybody\" is not a network"},
           Case{"standalone", "data_dir: /x\ningress: {smtp: {proxy_from: [1.2.3.4/99]}}\n", "ingress.smtp.proxy_from"},
           Case{"ingress", "peers: {directory: a:1, routing: a:2, queue: [a:3]}\ningress: {smtp: {proxy_port: 26}}\n",
                "ingress.smtp.proxy_port: nobody could use it"},
           Case{"gateway",
                "peers: {directory: a:1, mailbox: [{target: b:1}]}\n"
                "gateway: {imap: {port: 5000}, pop3: {proxy_port: 5000, proxy_from: [192.0.2.1]}}\n",
                "gateway.pop3.proxy_port: 5000 is the port of gateway.imap already"},
           Case{"standalone", "data_dir: /x\ningress: {bare_lf: keep}\n", "must be one of reject, normalize"},
           Case{"standalone", "data_dir: /x\nrouting: {transports: [{domain: x}]}\n", "needs domain and host"},
           Case{"standalone", "data_dir: /x\nrouting: {transports: [{domain: x, host: y, tls: maybe}]}\n",
                "must be one of opportunistic"},
           Case{"standalone", "data_dir: /x\nqueue: {retry_min: 2h, retry_max: 1h}\n",
                "is longer than queue.retry_max"},
           Case{"standalone", "data_dir: /x\ningress: {max_message_bytes: 101MiB}\n",
                "is more than mailbox.max_message_bytes (104857600)"},
           Case{"standalone",
                "data_dir: /x\ningress: {max_message_bytes: 101MiB}\nmailbox: {max_message_bytes: 1GiB}\n", ""},
           Case{"standalone", "data_dir: /x\nqueue: {retry_factor: 0.5}\n", "must be at least 1"},
           Case{"standalone", "data_dir: /x\nqueue: {retry_min: 2h}\n", "is longer than queue.retry_max (1h)"},
           Case{"standalone", "data_dir: /x\nqueue: {retry_min: 900ms, retry_max: 100ms}\n",
                "is longer than queue.retry_max"},
           Case{"standalone", "data_dir: /x\nrouting: {dns_max_ttl: 2s}\n", "is longer than routing.dns_max_ttl"},
           Case{"standalone", "data_dir: /x\ningress: {submission: {port: 2525}}\n",
                "ingress.submission.port: 2525 is the port of ingress.smtp already"},
           Case{"standalone", "data_dir: /x\ningress: {smtp: {disabled: true}, submission: {port: 2525}}\n", ""},
           Case{"standalone", "data_dir: /x\ngateway: {imaps: {address: 0.0.0.0, port: 9400}}\nhttp: {port: 9400}\n",
                "http.port: 9400 is the port of gateway.imaps already"},
           Case{"standalone", "data_dir: /x\nhttp: {address: 127.0.0.2, port: 2525}\n", ""},
           Case{"standalone",
                "data_dir: /x\nhttp: {port: 0}\nrpc: {port: 0}\ningress: {smtp: {port: 0}, submission: {port: 0}}\n",
                ""},
       }) {
    const auto config = Parse(c.yaml, "mail.yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    const absl::Status status = Validate(*config, c.service);
    EXPECT_EQ(status.ok(), *c.message == 0) << c.yaml << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(c.message)) << c.yaml;
  }
}

// What contradicts or cannot work is known after the file was read.
TEST(ConfigTest, AnErrorOfTheSettingsIsLocated) {
  const std::string path = testing::TempDir() + "/located.yaml";
  std::ofstream(path) << "queue:\n  source_address: banana\nrouting:\n  dns_servers: [192.0.2.1,\n    nine]\n"
                         "  transports:\n  - {domain: x.example, host: \"a b\"}\n";
  const struct {
    std::string message, located;
  } kCases[] = {
      {"queue.source_address: \"banana\" is no address", ":2:19: queue.source_address: \"banana\" is no address"},
      {"routing.dns_servers is \"nine\": an address", ":5:5: routing.dns_servers is \"nine\": an address"},
      {"routing.transports[0].host: \"a b\"", ":7:31: routing.transports[0].host: \"a b\""},
      {"routing.transports.host is \"a b\"", ":7:3: routing.transports.host is \"a b\""},
      {"queue.retry_min: must be positive", ":2:3: queue.retry_min: must be positive"},  // the key's section
      {"data_dir is required", ": data_dir is required"},
  };
  for (const auto& c : kCases) {
    EXPECT_EQ(Locate(absl::InvalidArgumentError(c.message), path).message(), path + c.located);
  }
  EXPECT_EQ(Locate(absl::InvalidArgumentError("x: y"), path + ".gone").message(), path + ".gone: x: y");
}

TEST(ConfigTest, ChangedKeysAreNamed) {
  const auto before = Parse("hostname: a\ningress: {smtp: {port: 0}, max_errors: 3}\npeers: {queue: [a:1]}\n", "x");
  const auto after = Parse(
      "hostname: a\nlog_level: debug\ningress: {smtp: {proxy_from: [::1]}, max_errors: 3, data_timeout: 1s}\n"
      "peers: {queue: [a:1, b:1]}\n",
      "x");
  ASSERT_TRUE(before.ok() && after.ok());
  EXPECT_THAT(ChangedKeys(*before, *before), testing::IsEmpty());
  EXPECT_THAT(ChangedKeys(*before, *after), testing::ElementsAre("log_level", "peers.queue", "ingress.smtp.port",
                                                                 "ingress.smtp.proxy_from", "ingress.data_timeout"));
}

// Pods of one StatefulSet share a file; the name of each is the name of its store.
TEST(ConfigTest, ThePodsNameAndNamespaceAreReplacedInValues) {
  const cli::Environment pod = [](const std::string& name) -> std::optional<std::string> {
    if (name == "POD_NAME") return "mailbox-1";
    if (name == "POD_NAMESPACE") return "mail: x";
    return std::nullopt;
  };
  const auto config = Parse(
      "hostname: ${POD_NAME}.${POD_NAMESPACE}.svc\nmailbox: {shard: \"${POD_NAME}\"}\n"
      "peers: {queue: [a, \"${POD_NAME}:1\"]}\n",
      "x", pod);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->mailbox().shard(), "mailbox-1");
  EXPECT_EQ(config->hostname(), "mailbox-1.mail: x.svc");  // a value never becomes YAML
  EXPECT_EQ(config->peers().queue(1), "mailbox-1:1");
}

TEST(ConfigTest, AVariableThatCannotBeReplacedIsNamedWithItsFileAndKey) {
  const cli::Environment none = [](const std::string&) { return std::nullopt; };
  const cli::Environment empty = [](const std::string&) { return std::optional<std::string>(""); };
  for (const cli::Environment& environment : {none, empty}) {
    EXPECT_EQ(Parse("queue:\n  shard: ${POD_NAME}\n", "q.yaml", environment).status().message(),
              "q.yaml:2:10: queue.shard: ${POD_NAME}: the environment variable POD_NAME is not set");
  }
  for (const char* other : {"${HOME}", "${}", "${POD_NAME", "x${pod_name}"}) {
    const std::string yaml = absl::StrCat("hostname: \"", other, "\"\n");
    EXPECT_THAT(std::string(Parse(yaml, "q.yaml", none).status().message()),
                testing::AllOf(HasSubstr("q.yaml:1:11: hostname: ${"),
                               HasSubstr("only ${POD_NAME} and ${POD_NAMESPACE} are replaced")))
        << other;
  }
  EXPECT_EQ(Parse("hostname: $a{b}\n", "x", none)->hostname(), "$a{b}");
}

TEST(ConfigTest, AShardWithARangeStandsForOneOfEachOrdinal) {
  const auto config = Parse(
      "peers:\n  mailbox:\n    - {name: x, target: \"x:1\"}\n"
      "    - {name: \"m-{0..2}\", target: \"dns:///m-{0..2}.m.mail.svc:7403\"}\n"
      "  queue_shards: [{name: \"q-{9..10}\", target: \"q-{9..10}:1\"}]\n  queue: [\"q-{0..1}:7402\", \"r:1\"]\n",
      "x");
  ASSERT_TRUE(config.ok()) << config.status();
  const v1::Peers& peers = config->peers();
  ASSERT_EQ(peers.mailbox_size(), 4);
  EXPECT_EQ(peers.mailbox(0).name(), "x");
  EXPECT_EQ(peers.mailbox(3).name(), "m-2");
  EXPECT_EQ(peers.mailbox(3).target(), "dns:///m-2.m.mail.svc:7403");
  ASSERT_EQ(peers.queue_shards_size(), 2);
  EXPECT_EQ(peers.queue_shards(1).name(), "q-10");
  EXPECT_THAT(peers.queue(), testing::ElementsAre("q-0:7402", "q-1:7402", "r:1"));
}

TEST(ConfigTest, ARangeThatIsNoneIsRefusedWithItsKey) {
  for (const char* bad : {"m-{2..1}", "m-{0..1000}", "m-{0}", "m-{a..b}", "m-{0..", "m-{}", "m-{-1..1}"}) {
    EXPECT_THAT(Refusal(absl::StrCat("peers: {queue: [\"", bad, "\"]}\n")),
                testing::AllOf(HasSubstr("mail.yaml: peers.queue: \"m-{"), HasSubstr("a range is {FIRST..LAST}")));
  }
  EXPECT_THAT(Refusal("peers: {mailbox: [{name: \"m-{0..1}\", target: \"m-{0..2}:1\"}]}\n"),
              HasSubstr("peers.mailbox: \"m-{0..2}:1\": name and target have one range, {0..1}"));
}

TEST(ConfigTest, TheCommentsOfTheProtoSayWhichKeysAreReloadable) {
  for (const char* key : {"log_level", "drain_timeout", "drain_delay", "ingress.max_errors", "ingress.relay_networks",
                          "peers.mailbox", "peers.queue", "peers.queue_shards", "gateway.drain_spread"})
    EXPECT_TRUE(Reloadable(key)) << key;
  for (const char* key : {"hostname", "ingress", "ingress.smtp", "ingress.smtp.port", "ingress.submissions.proxy_from",
                          "ingress.message_memory_bytes", "peers", "peers.directory", "peers.routing",
                          "queue.retry_min", "tls.certificates", ""})
    EXPECT_FALSE(Reloadable(key)) << key;
}

// People start from the files in deploy/.
TEST(ConfigTest, TheFilesToDeployAreValid) {
  for (const char* service : {"standalone", "ingress", "routing", "directory", "queue", "mailbox", "gateway"}) {
    const auto config = LoadFile(std::string("deploy/config/") + service + ".yaml");
    ASSERT_TRUE(config.ok()) << config.status();
    const absl::Status status = Validate(*config, service);
    EXPECT_TRUE(status.ok()) << service << ": " << status;
  }
}

TEST(ConfigTest, WhatIsShownLoadsAgainAsTheSame) {
  const std::string yaml =
      "hostname: \"m.example\"\ndrain_timeout: 1500ms\npeers: {queue: [a:1, b:2], mailbox: [{name: x, target: c:3}, "
      "{target: d:4}]}\n"
      "queue: {retry_factor: 1.5}\ningress: {allow_plaintext_auth: true, smtp: {port: 0}}\n";
  const auto first = Parse(yaml, "x");
  ASSERT_TRUE(first.ok()) << first.status();
  const auto second = Parse(Redacted(*first), "redacted");
  ASSERT_TRUE(second.ok()) << second.status() << Redacted(*first);
  EXPECT_EQ(first->SerializeAsString(), second->SerializeAsString());
  v1::Config secret;
  secret.mutable_peers()->set_directory("ldap://admin:hunter2@host");
  EXPECT_THAT(Redacted(secret), testing::Not(HasSubstr("hunter2")));
}

TEST(ConfigTest, Durations) {
  EXPECT_EQ(*ParseDurationNanos("0s"), 0);
  EXPECT_EQ(*ParseDurationNanos("2d"), int64_t{172800} * 1000000000);
  EXPECT_EQ(*ParseDurationNanos("1h1m1s1ms1us"), int64_t{3661001001} * 1000);
  for (const char* bad : {"", "s", "1", "1x", "1s2", "--1s", "1e3s", "99999999999999999d"})
    EXPECT_FALSE(ParseDurationNanos(bad).ok()) << bad;
}

}  // namespace
}  // namespace posthouse::config
