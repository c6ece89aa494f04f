// posthouse-mailbox: a mailbox store as a process of its own.
#include "services/common/runtime/service_app.h"
#include "services/mailbox/app.h"

int main(int argc, char** argv) {
  return posthouse::runtime::ServiceMain<posthouse::mailbox::App>(argc, argv, "mailbox");
}
