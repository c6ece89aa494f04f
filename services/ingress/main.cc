// posthouse-ingress: SMTP in.
#include "services/common/runtime/service_app.h"
#include "services/ingress/app.h"

int main(int argc, char** argv) {
  return posthouse::runtime::ServiceMain<posthouse::ingress::App>(argc, argv, "ingress");
}
