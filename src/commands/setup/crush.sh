# crush: put this into ~/.config/crush/crushrc and replace MODEL with a model
# name. The gateway must serve OpenAI's API and accept ChatGPT tokens; the
# ChatGPT backend rejects what crush sends. Based on crush's documentation for
# 0.96; untested.
provider add 'chatgpt{{suffix}}' --name 'ChatGPT{{of_profile}} through codex-auth' --type openai-compat \
  --base-url '{{url}}' \
  --api-key "$({{call}} token --verify --timeout 8s)"{{header_options}}
model add 'chatgpt{{suffix}}/MODEL' --name MODEL
