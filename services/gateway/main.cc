// posthouse-gateway: IMAP and POP3 for mail clients.
#include "services/common/runtime/service_app.h"
#include "services/gateway/app.h"

int main(int argc, char** argv) {
  return posthouse::runtime::ServiceMain<posthouse::gateway::App>(argc, argv, "gateway");
}
