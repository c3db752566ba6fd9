declare module "ws" {
  export class WebSocketServer {
    constructor(options: { server: unknown });
    on(event: "connection", told: (socket: { send(text: string): void; on(event: string, told: (data: unknown) => void): void; terminate(): void }) => void): void;
    close(): void;
  }
}
