/* oip_models.h - the methods of oip.h that speak about servers and models, not to them. Private to the service. */
#ifndef INFERENCE_OIP_MODELS_H
#define INFERENCE_OIP_MODELS_H

#include "rpc/rpc.h"

rpc_unary_fn oip_server_live, oip_server_ready, oip_model_ready;
rpc_unary_fn oip_server_metadata, oip_model_metadata;
rpc_unary_fn oip_repository_index, oip_repository_load, oip_repository_unload;

#endif
