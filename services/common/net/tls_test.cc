#include "services/common/net/tls.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "services/common/async/task.h"
#include "services/common/net/connection.h"
#include "services/common/net/event_loop.h"
#include "services/common/testing/test_ca.h"

namespace posthouse::net {
namespace {

constexpr absl::Duration kLong = absl::Seconds(30);

CertificateFiles Files(const std::string& name) {
  const std::string base = std::string(getenv("TEST_TMPDIR")) + "/" + name;
  return {base + ".crt", base + ".key"};
}

CertificateFiles SelfSigned(const std::string& name) {
  CertificateFiles files = Files(name);
  EXPECT_TRUE(WriteSelfSigned(files, {name, "127.0.0.1"}, 10).ok());
  return files;
}

class TlsTest : public ::testing::Test {
 public:
  void TearDown() override {
    if (listener_ != nullptr) {
      SyncWait([](TlsTest* t) -> Task<void> {
        co_await SwitchTo(t->loops_.at(0));
        co_await t->listener_->Drain(kLong);
      }(this));
    }
    loops_.Stop();
  }

  void Serve(std::shared_ptr<TlsServerContext> context) {
    ListenerOptions options;
    options.implicit_tls = std::move(context);
    listener_ = *Listener::Start(loops_, std::move(options), [](std::unique_ptr<Connection> c) -> Task<void> {
      (co_await c->Write(c->tls_info().version + " " + c->tls_info().sni + "\r\n", kLong)).IgnoreError();
      (void)co_await c->ReadLine(10, kLong);
    });
  }

  // The server's answer to a client that verifies against `ca` and wants `name`.
  absl::StatusOr<std::string> Hello(const std::string& ca, const std::string& name) {
    return SyncWait(DoHello(this, ca, name));
  }
  static Task<absl::StatusOr<std::string>> DoHello(TlsTest* t, std::string ca, std::string name) {
    co_await SwitchTo(t->loops_.at(0));
    auto c = co_await Connect(t->loops_.at(0), {"127.0.0.1", t->listener_->port()}, "", kLong);
    if (!c.ok()) co_return c.status();
    auto context = TlsClientContext::Create(ca.empty() ? VerifyPeer::kNone : VerifyPeer::kHostname, ca);
    if (!context.ok()) co_return context.status();
    const absl::Status handshake = co_await (*c)->StartTlsClient(*context, name, kLong);
    if (!handshake.ok()) co_return handshake;
    EXPECT_EQ((*c)->tls_info().verified, !ca.empty());
    co_return co_await (*c)->ReadLine(1000, kLong);
  }

  EventLoops loops_{1};
  std::unique_ptr<Listener> listener_;
};

TEST_F(TlsTest, ClientsVerifyTheNameWhenAsked) {
  const CertificateFiles files = SelfSigned("mx.example.org");
  Serve(*TlsServerContext::Create({files}));
  EXPECT_EQ(Hello(files.certificate_chain, "mx.example.org").value_or("?"), "TLSv1.3 mx.example.org");
  const auto wrong = Hello(files.certificate_chain, "other.example.org");
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(wrong.status().message().find("ostname mismatch"), absl::string_view::npos) << wrong.status();
  EXPECT_EQ(Hello("", "other.example.org").value_or("?"), "TLSv1.3 other.example.org");
}

TEST_F(TlsTest, TheCertificateFollowsTheServerName) {
  const CertificateFiles first = SelfSigned("a.example.org"), second = SelfSigned("b.example.org");
  Serve(*TlsServerContext::Create({first, second}));
  EXPECT_TRUE(Hello(first.certificate_chain, "a.example.org").ok());
  EXPECT_TRUE(Hello(second.certificate_chain, "b.example.org").ok());
  EXPECT_FALSE(Hello(first.certificate_chain, "b.example.org").ok());
}

TEST_F(TlsTest, ChangedFilesAreLoadedAndBadOnesAreNot) {
  const CertificateFiles files = SelfSigned("mx.example.org");
  // Only when asked, in this test.
  const std::shared_ptr<TlsServerContext> context = *TlsServerContext::Create({files}, absl::Hours(1));
  Serve(context);
  EXPECT_FALSE(*context->ReloadIfChanged());
  const absl::Time before = context->NotAfter();
  ASSERT_TRUE(WriteSelfSigned(files, {"mx.example.org"}, 99).ok());
  EXPECT_TRUE(*context->ReloadIfChanged());
  EXPECT_GT(context->NotAfter(), before + absl::Hours(24 * 80));
  EXPECT_TRUE(Hello(files.certificate_chain, "mx.example.org").ok());

  const absl::Time kept = context->NotAfter();
  std::ofstream(files.certificate_chain) << "not a certificate";
  const auto reloaded = context->ReloadIfChanged();
  EXPECT_EQ(reloaded.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(reloaded.status().message().find(files.certificate_chain), absl::string_view::npos);
  EXPECT_EQ(context->NotAfter(), kept);
  EXPECT_TRUE(Hello("", "mx.example.org").ok());  // the old one still serves
}

// cert-manager and certbot replace files and tell nobody.
TEST_F(TlsTest, ChangedFilesAreFoundByTheNextHandshake) {
  const CertificateFiles files = SelfSigned("mx.example.org");
  const std::shared_ptr<TlsServerContext> context = *TlsServerContext::Create({files}, absl::ZeroDuration());
  Serve(context);
  EXPECT_TRUE(Hello(files.certificate_chain, "mx.example.org").ok());
  ASSERT_TRUE(WriteSelfSigned(files, {"mx.example.org"}, 99).ok());
  EXPECT_TRUE(Hello(files.certificate_chain, "mx.example.org").ok());  // verified: it is the new one
  const absl::Time kept = context->NotAfter();
  EXPECT_GT(kept, absl::Now() + absl::Hours(24 * 90));
  EXPECT_EQ(context->ReloadFailures(), 0u);

  // A certificate that does not load is tried once, not at each handshake.
  std::ofstream(files.certificate_chain) << "not a certificate";
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(Hello("", "mx.example.org").ok());
  EXPECT_EQ(context->NotAfter(), kept);
  EXPECT_EQ(context->ReloadFailures(), 1u);
}

TEST_F(TlsTest, AnExpiredCertificateIsNotTaken) {
  const CertificateFiles files = SelfSigned("mx.example.org");
  const std::shared_ptr<TlsServerContext> context = *TlsServerContext::Create({files}, absl::Hours(1));
  const absl::Time kept = context->NotAfter();
  ASSERT_TRUE(WriteSelfSigned(files, {"mx.example.org"}, 0).ok());
  const absl::Status refused = TlsServerContext::Create({files}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("expired on"), absl::string_view::npos) << refused;
  EXPECT_FALSE(context->ReloadIfChanged().ok());
  EXPECT_EQ(context->NotAfter(), kept);
}

TEST_F(TlsTest, ACertificateThatIsNotYetValidIsNotTaken) {
  posthouse::testing::TestCa ca(getenv("TEST_TMPDIR"), "future");
  const auto issue = [&ca](int from) {
    const posthouse::testing::TestCa::Files files =
        ca.Issue("mx", "mx.example.org", {"mx.example.org"}, from, 90 * 24 * 3600);
    return CertificateFiles{files.certificate, files.private_key};
  };
  // Issued this minute, by an authority whose clock is a little ahead of ours.
  const CertificateFiles files = issue(60);
  const std::shared_ptr<TlsServerContext> context = *TlsServerContext::Create({files}, absl::Hours(1));
  const absl::Time kept = context->NotAfter();
  issue(24 * 3600);
  const absl::Status refused = TlsServerContext::Create({files}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(refused.message().find("is valid only from"), absl::string_view::npos) << refused;
  EXPECT_EQ(context->ReloadFailures(), 0u);
  EXPECT_FALSE(context->Reload().ok());  // as SIGHUP does
  EXPECT_EQ(context->ReloadFailures(), 1u);
  EXPECT_EQ(context->NotAfter(), kept);
}

TEST_F(TlsTest, AKeyOfAnotherCertificateIsRefused) {
  const CertificateFiles a = SelfSigned("a.example.org"), b = SelfSigned("b.example.org");
  EXPECT_EQ(TlsServerContext::Create({{a.certificate_chain, b.private_key}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_FALSE(TlsServerContext::Create({}).ok());
}

TEST_F(TlsTest, TheKeyIsForTheOwnerOnly) {
  struct stat st{};
  ASSERT_EQ(stat(SelfSigned("k.example.org").private_key.c_str(), &st), 0);
  EXPECT_EQ(st.st_mode & 0777, 0600u);
}

// A balancer's PROXY header and the client's first TLS record may come in one segment.
TEST_F(TlsTest, AProxyHeaderAndTheHandshakeInOneSegment) {
  ListenerOptions options;
  options.implicit_tls = *TlsServerContext::Create({SelfSigned("mx.example.org")});
  options.proxy_from.push_back(*Cidr::Parse("127.0.0.0/8"));
  listener_ = *Listener::Start(loops_, std::move(options), [](std::unique_ptr<Connection> c) -> Task<void> {
    (co_await c->Write(c->peer().ToString(), kLong)).IgnoreError();
  });
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  ASSERT_GE(fd, 0);
  const timeval patience{10, 0};
  ASSERT_EQ(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
  // Corked, the kernel sends nothing for 200 ms: long enough for the first record to join.
  const int on = 1;
  ASSERT_EQ(setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(listener_->port());
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
  const std::string header = "PROXY TCP4 192.0.2.7 198.51.100.1 1234 465\r\n";
  ASSERT_EQ(send(fd, header.data(), header.size(), 0), static_cast<ssize_t>(header.size()));
  SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  SSL* const ssl = SSL_new(context);
  SSL_set_fd(ssl, fd);
  EXPECT_EQ(SSL_connect(ssl), 1);
  char said[64] = "";
  EXPECT_GT(SSL_read(ssl, said, sizeof said - 1), 0);
  EXPECT_STREQ(said, "192.0.2.7:1234");
  SSL_free(ssl);
  SSL_CTX_free(context);
  close(fd);
}

// RFC 3207 §4.2: what was pipelined behind STARTTLS in the clear is not a command.
TEST_F(TlsTest, PlaintextBehindStartTlsIsThrownAway) {
  const std::shared_ptr<TlsServerContext> context = *TlsServerContext::Create({SelfSigned("mx.example.org")});
  listener_ = *Listener::Start(loops_, {}, [context](std::unique_ptr<Connection> c) -> Task<void> {
    (void)co_await c->ReadLine(100, kLong);  // STARTTLS
    EXPECT_GT(c->Buffered(), 0u);
    if (!(co_await c->Write("220\r\n", kLong)).ok()) co_return;
    if (!(co_await c->StartTlsServer(context, kLong)).ok()) co_return;
    EXPECT_EQ(c->Buffered(), 0u);
    absl::StatusOr<std::string> line = co_await c->ReadLine(100, kLong);
    (co_await c->Write("got " + line.value_or("?") + "\r\n", kLong)).IgnoreError();
  });
  SyncWait([](TlsTest* t) -> Task<void> {
    co_await SwitchTo(t->loops_.at(0));
    auto c = *co_await Connect(t->loops_.at(0), {"127.0.0.1", t->listener_->port()}, "", kLong);
    EXPECT_TRUE((co_await c->Write("STARTTLS\r\nRSET\r\n", kLong)).ok());
    EXPECT_EQ((co_await c->ReadLine(100, kLong)).value_or("?"), "220");
    EXPECT_TRUE((co_await c->StartTlsClient(*TlsClientContext::Create(VerifyPeer::kNone, ""), "", kLong)).ok());
    EXPECT_TRUE((co_await c->Write("NOOP\r\n", kLong)).ok());
    EXPECT_EQ((co_await c->ReadLine(100, kLong)).value_or("?"), "got NOOP");
  }(this));
}

}  // namespace
}  // namespace posthouse::net
