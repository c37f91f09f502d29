# crush: put this into ~/.config/crush/crushrc and replace MODEL with the name
# of a ChatGPT model.
# The ChatGPT backend rejects what crush sends; the gateway of
# `codex-auth setup litellm` translates, and must be running. To use another
# gateway that accepts ChatGPT tokens, use --base-url.
# Based on crush's documentation for 0.96; untested.
provider add 'chatgpt{{suffix}}' --name 'ChatGPT{{of_profile}} through codex-auth' --type openai-compat \
  --base-url 'http://127.0.0.1:4000/v1' --api-key sk-local
model add 'chatgpt{{suffix}}/MODEL' --name MODEL
